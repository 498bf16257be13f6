//! What a running service or command is told from outside: configuration, environment, wall clock, log levels, and the
//! recorded data that is built into the binary. Leaves what is done with them to the layers below.

pub mod builtin;
mod bundles;
mod channel_config;
pub mod clock;
pub mod config;
mod config_watch;
pub mod daemon;
mod log_spec;
mod nearest;
pub mod units;

pub use bundles::{BUNDLES_DIR, BundleError, BundleRecord, Bundles};
pub use channel_config::{ChannelConfigError, load_channel_config};
pub use config_watch::{CONFIG_POLL, ConfigWatch, ConfigWatchSettings};
pub use log_spec::{LogLevel, LogSpec, LogSpecError};
pub use nearest::nearest;
