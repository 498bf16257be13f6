//! `verify DIR --policy`: whether those whose statements are given vouch for the folder, by the rule, without any network.

use super::{
    args::{ConfigFlags, RootArgs, TrustArgs},
    channel,
    context::Context,
    exit::{Exit, Failure},
    verify::Verdict,
};
use serde_json::json;
use snapferry::{
    catalog::{AgreedSnapshot, AgreementError, Judging, Mode, Offer, Statements, TrustPolicy, Voucher, agree},
    msp::MspId,
    service::{
        LogLevel, Rooted, VouchingFileError,
        config::{Config, Loaded},
        load_statements,
    },
    snapshot::{BlockHash, BlockNumber, ChannelId, SnapshotFile, VerifiedFolder},
};
use std::path::Path;

/// The rule, whom it is judged by, and what was said.
pub(super) struct Rule {
    rooted: Rooted,
    policy: TrustPolicy,
    own_msp: MspId,
    statements: Statements,
    floor: BlockNumber,
    allow_older: bool,
}

impl Rule {
    pub(super) fn load(
        context: &Context,
        channel: &ChannelId,
        trust: &TrustArgs,
        root: &RootArgs,
        flags: &ConfigFlags,
    ) -> Result<Self, Failure> {
        let mut by_key = flags.by_key();
        by_key.extend(trust.by_key());
        let Loaded { config, .. } = context.configure(by_key, LogLevel::Warn)?;
        let statements = load_statements(&trust.attestations)?;
        if statements.heard.is_empty() && statements.detached.is_empty() {
            return Err(Failure::new(Exit::Usage, "nobody's statement is given")
                .next("give --attestations PATH: what each organisation's `snapferry snapshot sign` wrote"));
        }
        let rooted = channel::rooted(&config, root, channel)?;
        let floor = floor(context, &config, &rooted)?;
        // Offline nobody can be asked: what was signed before is judged by its own dates.
        let mut settings = config.trust.clone();
        settings.require_live = false;
        let mut policy = TrustPolicy::new(&settings, &rooted.config)?;
        // Whoever isn't told who we are can't leave us out.
        let nobody = || MspId::new("nobody").expect("a legal name");
        policy.count_self |= config.identity.msp_id.is_none();
        let own_msp = config.identity.msp_id.clone().unwrap_or_else(nobody);
        Ok(Self { rooted, policy, own_msp, statements, floor, allow_older: trust.allow_older })
    }

    /// # Errors
    /// Who said what, and what lacks.
    pub(super) fn judge(&self, path: &Path, verified: &VerifiedFolder) -> Result<Verdict, Failure> {
        let now = (channel::wall_clock())();
        let judging = Judging {
            config: &self.rooted.config,
            policy: &self.policy,
            own_msp: &self.own_msp,
            now,
            nonce: None,
            floor: self.floor,
            allow_older: self.allow_older,
        };
        let id = verified.manifest.id();
        let offer = Offer::of_folder(path.display().to_string(), self.own_msp.clone(), verified);
        let agreed = agree(&judging, &id.channel, &[offer], &self.statements, Some(id.block_number))
            .map_err(|error| refused(&error))?;
        // No hash covers it, and the joined ledger goes on from it: the folder's own must be the one that is vouched for.
        let (found, vouched) = (verified.metadata.commit_hash, agreed.commit_hash());
        if found != vouched {
            let shown = |hash: Option<BlockHash>| hash.map_or_else(|| "none".to_owned(), |hash| hash.to_string());
            let what = format!(
                "{}: last_block_commit_hash is {}, but those who vouch for this snapshot name {}",
                path.join(SnapshotFile::ADDITIONAL_METADATA).display(),
                shown(found),
                shown(vouched)
            );
            return Err(Failure::new(Exit::Verification, what).next("don't join from this folder"));
        }
        Ok(self.verdict(&agreed))
    }

    fn verdict(&self, agreed: &AgreedSnapshot) -> Verdict {
        let orgs: Vec<&str> = agreed.vouching_orgs().iter().map(MspId::as_str).collect();
        let config = &self.rooted.config;
        let who: String = agreed.vouchers().iter().map(|voucher| format!("  {}\n", line(voucher))).collect();
        let scope = match agreed.mode() {
            Mode::Streaming => "",
            Mode::Staged => {
                " (only for Fabric's metadata; nobody vouches for a manifest, and a whole folder needs none)"
            }
        };
        Verdict {
            text: format!(
                "{} vouch{} for it{scope}, which satisfies {}:\n{who}judged by channel configuration {} of block {}; their statements were made \
                 before and say nothing of what is newest\n",
                orgs.join(" and "),
                if orgs.len() == 1 { "es" } else { "" },
                self.policy.metadata.as_str(),
                config.sequence(),
                config.block_number(),
            ),
            json: json!({
                "organisations": orgs,
                "metadata_policy": self.policy.metadata.as_str(),
                "manifest_policy": self.policy.manifest.as_str(),
                "config_sequence": config.sequence(),
                "vouchers": agreed.vouchers().iter().map(line).collect::<Vec<_>>(),
            }),
        }
    }
}

/// One voucher, as a line.
pub(super) fn line(voucher: &Voucher) -> String {
    format!("{}: {}, {}", voucher.msp_id, voucher.subject, voucher.how)
}

/// The configuration's block, or the highest that this peer ever had, if a state folder tells (trust.md 6.5).
fn floor(context: &Context, config: &Config, rooted: &Rooted) -> Result<BlockNumber, Failure> {
    let had = channel::highest_had(context, config, rooted.config.channel())?;
    Ok(had.into_iter().fold(rooted.config.block_number(), BlockNumber::max))
}

fn refused(error: &AgreementError) -> Failure {
    Failure::new(Exit::Verification, error)
}

impl From<VouchingFileError> for Failure {
    fn from(error: VouchingFileError) -> Self {
        let exit = match &error {
            VouchingFileError::Attestation { .. } | VouchingFileError::Detached { .. } => Exit::Verification,
            _ => Exit::Usage,
        };
        Self::new(exit, snapferry::transport::fault::chain(&error))
    }
}
