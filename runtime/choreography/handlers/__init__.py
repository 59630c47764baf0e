"""What carries messages, and what only looks: in memory, over connections, recording, and nothing at all."""
