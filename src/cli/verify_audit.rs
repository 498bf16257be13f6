//! `verify --audit`: whether an audit log is as the service wrote it.

use super::{
    context::Context,
    exit::{Exit, Failure},
    output,
};
use serde_json::json;
use snapferry::{
    catalog::{AuditError, AuditSummary, check_audit},
    snapshot::AuditChain,
};
use std::{fs::File, path::Path};

/// Every line of the log, and the chain through them.
pub(super) fn audit(context: &Context, path: &Path, noted: Option<AuditChain>) -> Result<(), Failure> {
    let unreadable =
        |error: std::io::Error| Failure::new(Exit::Usage, format!("can't read {}: {error}", path.display()));
    let file = File::open(path).map_err(unreadable)?;
    let summary = match check_audit(file, noted) {
        Ok(summary) => summary,
        Err(AuditError::Read(error)) => return Err(unreadable(error)),
        Err(error) => {
            return Err(Failure::new(Exit::Verification, format!("{}: {error}", path.display()))
                .next("what is before that place holds, what follows proves nothing: keep the file, and find out who can write there"));
        }
    };
    let AuditSummary { records, numbers, times, before, head, torn_bytes, .. } = summary;
    if context.json() {
        return output::print_json(&json!({
            "records": records,
            "first_record": numbers.map(|(first, _)| first),
            "last_record": numbers.map(|(_, last)| last),
            "first_at": times.as_ref().map(|(first, _)| first),
            "last_at": times.as_ref().map(|(_, last)| last),
            "goes_on_from": before.map(|chain| chain.to_string()),
            "chain_head": head.to_string(),
            "torn_bytes": torn_bytes,
            "noted_chain_found": noted.map(|_| true),
        }));
    }
    let (Some((first, last)), Some((begun, ended))) = (numbers, times) else {
        return output::print(&format!("{} holds no record yet\n", path.display()));
    };
    let torn = match torn_bytes {
        0 => String::new(),
        bytes => {
            format!("the last {bytes} bytes are a record that isn't whole: it is being written, or a crash tore it\n")
        }
    };
    let before = before.map_or_else(String::new, |chain| {
        format!("it goes on from the file whose chain head is {chain}: check that one, too\n")
    });
    let noted = match noted {
        Some(chain) => format!("chain {chain} is in it: up to there nothing was changed since it was noted\n"),
        None => String::new(),
    };
    output::print(&format!(
        "{} holds: {records} records, first {first} of {begun}, last {last} of {ended}\n{torn}{before}{noted}chain head {head}: note it \
         down elsewhere; who can write the file can also write it anew as a whole, and only a noted chain value (--from-chain) tells\n",
        path.display()
    ))
}
