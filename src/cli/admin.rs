//! Who commands as an admin: never the service's own identity, which the configuration names.

use super::{
    context::Context,
    exit::{Exit, Failure},
};
use clap::Args;
use snapferry::{
    msp::{LocalIdentity, MspId},
    service::config::Config,
    transport::fault::chain,
};
use std::path::PathBuf;

/// An admin's MSP identity, as `peer` is given it.
#[derive(Debug, Args)]
pub(crate) struct AdminArgs {
    /// The admin's MSP folder [default: CORE_PEER_MSPCONFIGPATH]
    #[arg(long, value_name = "DIR", alias = "mspConfigPath")]
    msp_config_path: Option<PathBuf>,
    /// The admin's organisation [default: CORE_PEER_LOCALMSPID, else identity.mspId]
    #[arg(long, value_name = "ID", alias = "mspID", value_parser = msp_id)]
    msp_id: Option<MspId>,
}

fn variable<'a>(context: &'a Context, name: &str) -> Option<&'a String> {
    context.environment.get(name).filter(|value| !value.is_empty())
}

fn msp_id(text: &str) -> Result<MspId, &'static str> {
    MspId::new(text).ok_or("no MSP ID: 1 to 256 bytes without control characters")
}

impl AdminArgs {
    /// Without flags: as the environment of `peer` names the admin.
    pub(crate) const fn of_environment() -> Self {
        Self { msp_config_path: None, msp_id: None }
    }

    /// The MSP folder by the key that it stands over: then nobody is warned that it is another's.
    pub(crate) fn by_key(&self, context: &Context) -> Option<(&'static str, String)> {
        self.folder(context).map(|folder| ("identity.mspConfigPath", folder.display().to_string()))
    }

    fn folder(&self, context: &Context) -> Option<PathBuf> {
        let given = self.msp_config_path.clone();
        given.or_else(|| variable(context, "CORE_PEER_MSPCONFIGPATH").map(PathBuf::from))
    }

    /// The identity and its key.
    pub(crate) fn load(&self, context: &Context, config: &Config) -> Result<LocalIdentity, Failure> {
        let folder = self.folder(context).ok_or_else(|| {
            Failure::new(Exit::Usage, "an admin must sign this command")
                .next("give --msp-config-path DIR, or set CORE_PEER_MSPCONFIGPATH, to the admin's MSP folder")
        })?;
        let variable = || variable(context, "CORE_PEER_LOCALMSPID").and_then(|name| MspId::new(name));
        let named = self.msp_id.clone().or_else(variable);
        let msp_id = named.or_else(|| config.identity.msp_id.clone()).ok_or_else(|| {
            Failure::new(Exit::Usage, "nothing says of which organisation the admin is")
                .next("give --msp-id ID, or set CORE_PEER_LOCALMSPID")
        })?;
        LocalIdentity::load(&msp_id, &folder).map_err(|error| Failure::new(Exit::Usage, chain(&error)))
    }
}
