//! What a running service or command is told from outside: configuration, environment, wall clock, log levels, and the
//! recorded data that is built into the binary. Leaves what is done with them to the layers below.

mod block_file;
pub mod builtin;
mod bundle_error;
mod bundles;
mod channel_config;
pub mod clock;
pub mod config;
mod config_watch;
pub mod control;
pub mod daemon;
mod host_load;
mod log_spec;
mod nearest;
mod peer_begins;
mod root_of_trust;
pub mod units;
mod vouching_files;

pub use bundle_error::{BundleError, BundleRecord};
pub use bundles::{BUNDLES_DIR, Bundles, Judged};
pub use channel_config::{ChannelConfigError, configured_channels, load_channel_config};
pub use config_watch::{CONFIG_AGE_MAX, CONFIG_POLL, ConfigWatch, ConfigWatchSettings, ConfigWatcher};
pub use host_load::watch_host;
pub use log_spec::{LogLevel, LogSpec, LogSpecError};
pub use nearest::nearest;
pub use root_of_trust::{Given, RootError, Rooted, load_given, load_root};
pub use vouching_files::{VouchingFileError, load_statements};
