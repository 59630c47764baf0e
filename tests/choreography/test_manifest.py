"""The composition manifest: as written beside it, and whether bundles fit."""

from antiphon.choreography.compiled import compile_choreography
from antiphon.choreography.manifest import CompositionManifest, build_manifest, check_links

TEXT = """\
module shop exposing (Trade)
proof_bundle Audit version "1" issuer "board" requires [audited, sealed]
protocol Trade requires Audit =
  roles Buyer, Seller
  Buyer { guard_capability : "shop:pay", link : "bundle=till|exports=receipt|imports=price" } -> Seller : Order
  Seller { guard_capability : "shop:sell" } -> Buyer : Book
"""


def manifest(bundle: str, exports: str, imports: str) -> CompositionManifest:
    text = (
        "module m exposing (P)\nprotocol P =\n  roles A, B\n"
        f'  A {{ link : "bundle={bundle}|exports={exports}|imports={imports}" }} -> B : x\n'
    )
    return build_manifest(compile_choreography(text))


def test_a_manifest_says_what_a_protocol_is_asks_for_and_offers() -> None:
    found = build_manifest(compile_choreography(TEXT))
    assert found.to_json() == {
        "name": "Trade",
        "namespace": "shop",
        "qualified_name": "shop.Trade",
        "protocol_id": found.protocol_id,
        "roles": ["Buyer", "Seller"],
        "required_capabilities": ["audited", "sealed"],
        "guard_capabilities": ["shop:pay", "shop:sell"],
        "links": [{"bundle": "till", "exports": ["receipt"], "imports": ["price"]}],
        "delegations": [],
        "determinism": ["antiphon.machine.default"],
    }
    assert found.capability("pay") == f"module:{found.protocol_id}:pay"


def test_the_id_is_of_what_is_exchanged() -> None:
    again = build_manifest(compile_choreography(TEXT.replace("shop:pay", "shop:buy")))
    other = build_manifest(compile_choreography(TEXT.replace(": Book", ": Tome")))
    assert again.protocol_id == build_manifest(compile_choreography(TEXT)).protocol_id != other.protocol_id


def test_bundles_fit_when_every_import_has_one_exporter() -> None:
    assert check_links([manifest("till", "receipt", "price"), manifest("stock", "price", "receipt")]) == ()


def test_an_import_nobody_exports_and_an_export_of_two_are_found() -> None:
    (missing,) = check_links([manifest("till", "receipt", "price")])
    assert (missing.bundle, missing.name) == ("till", "price")
    found = check_links([manifest("till", "receipt", "price"), manifest("stock", "price,receipt", "receipt")])
    assert [finding.name for finding in found] == ["receipt"]


def test_a_transfer_before_a_choice_is_announced_is_a_delegation_too() -> None:
    text = (
        "protocol P =\n  roles A, B\n  choice A at\n    | x =>\n        let r = transfer S from A to B\n"
        "        A -> B : x\n        handoff op to B with r\n    | y => A -> B : y\n"
    )
    assert [one.subject for one in build_manifest(compile_choreography(text)).delegations] == ["S"]
