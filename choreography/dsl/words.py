"""The words that mean something at the beginning of a statement, today and in older surfaces of the language.

Words are reserved by place and not by spelling; which one is meant where is the grammar's business. These lists serve
the layout pass, which must guess well about broken text, and the hints.
"""

STATEMENT_WORDS = frozenset({
    "choice", "loop", "rec", "par", "call", "continue", "timeout", "case", "let", "authoritative", "observe",
    "publish", "materialize", "handoff", "dependent", "begin", "await", "resolve", "invalidate", "roles",
})  # fmt: skip
DECLARATION_WORDS = frozenset({
    "module", "import", "protocol", "choreography", "proof_bundle", "profile", "agreement_profile", "role_set",
    "cluster", "ring", "mesh", "type", "effect", "fragment", "operation", "guest", "where",
})  # fmt: skip
# No names of a condition: whoever writes one means another language's conditional.
CONDITIONAL_WORDS = frozenset({"if", "then", "else"})
# A line that begins with one of these is followed by an indented block.
BLOCK_WORDS = frozenset({
    "choice", "loop", "rec", "par", "timeout", "case", "on", "effect", "guest", "where", "protocol",
    "choreography",
})  # fmt: skip
# A declaration of one logical line: what is indented below its head still belongs to it.
ONE_LINE_WORDS = frozenset({
    "proof_bundle", "profile", "agreement_profile", "role_set", "cluster", "ring", "mesh", "module", "import",
    "fragment", "operation",
})  # fmt: skip

# What each word of an older surface has become.
REMOVED_WORDS: dict[str, str] = {
    "heartbeat": "use a timeout with `on timeout =>`",
    "handshake": "write the two messages",
    "retry": "use a loop, or a progress contract with `on timeout => …`",
    "quorum_collect": "use an operation with `compose threshold_success(n)`",
    "acquire": "use `let r = transfer … from … to …`; the machine acquires on its own",
    "release": "use `handoff … to … with receipt`; the machine releases on its own",
    "fork": "use `par`",
    "join": "use `par`; what follows it waits for every branch",
    "abort": "use a choice, or `on cancel =>` of a timeout",
    "delegate": "use `handoff operation to Role with receipt`",
    "tag": "use an annotation of the sender, `A { trace : \"…\" } -> B : Message`",
    "check": "use `authoritative let x = check Effect.operation(…)`",
    "transfer": "use `let r = transfer subject from A to B`",
}  # fmt: skip
