# What CI runs, by hand: `just check`.
check: fmt clippy test doc

fmt:
    cargo fmt --all --check

clippy:
    cargo clippy --workspace --all-targets --locked -- -D warnings

test:
    cargo test --locked

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked

deny:
    cargo deny check licenses bans sources

# The first command of the README.
quickstart:
    cargo run --release --locked -- quickstart

# SIGKILL at ten random moments of a 4 GiB join (about 10 GiB of disk, some minutes).
kill-test:
    cargo test --release --locked --test kill_and_resume -- --ignored --nocapture

# The direct load beside a real peer's own import of the same folder, in turn (minutes, several GB of disk; FABRIC_BIN).
load-speed:
    cargo test --release --locked --test real_peer_speed -- --ignored --nocapture

# A join between real processes over nasty links (half a minute).
lossy-relay:
    cargo test --release --locked --test lossy_relay -- --ignored --nocapture

# Twenty thousand drawn joins; prints the faults a minute (some minutes).
faults-long:
    NETSIM_SEEDS=20000 cargo test --release --locked --test faults swarm -- --nocapture

# Every state that a power cut may leave of a join, every kind of failure of each of its operations, and every crash of a direct load (minutes).
faults-exhaustive:
    cargo test --release --locked --test faults every_ -- --ignored --nocapture

# Loopback throughput beside raw quinn and the hashes.
bench *ARGS:
    cargo run --release --locked -- bench {{ARGS}}
