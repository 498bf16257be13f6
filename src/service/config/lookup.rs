//! Where the two files are looked for, as Fabric does it (fabric: core/config/config.go): `FABRIC_CFG_PATH`, if set, is
//! the only place; else the working folder, then `/etc/hyperledger/fabric`.

use super::{ConfigError, FILE_NAME, Inputs};
use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Longest configuration that is read; a peer's `core.yaml` has about 40 KB.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// `snapferry.yaml`: the file of `--config`, which must exist, else the first one found.
pub(super) fn own_file(inputs: &Inputs) -> Result<Option<(PathBuf, String)>, ConfigError> {
    match &inputs.file {
        Some(path) => {
            read(&inputs.working_dir.join(path)).map(|text| text.map(|text| (path.clone(), text))).and_then(|found| {
                let missing = || ConfigError::Read { path: path.clone(), source: io::ErrorKind::NotFound.into() };
                found.ok_or_else(missing).map(Some)
            })
        }
        None => first(inputs, FILE_NAME),
    }
}

/// The peer's `core.yaml`, if there is one.
pub(super) fn core_file(inputs: &Inputs) -> Result<Option<(PathBuf, String)>, ConfigError> {
    first(inputs, "core.yaml")
}

fn first(inputs: &Inputs, name: &str) -> Result<Option<(PathBuf, String)>, ConfigError> {
    let only = inputs.environment.get("FABRIC_CFG_PATH").filter(|path| !path.is_empty());
    let folders = match only {
        Some(only) => vec![inputs.working_dir.join(only)],
        None => vec![inputs.working_dir.clone(), inputs.fallback_dir.clone()],
    };
    for folder in folders {
        let path = folder.join(name);
        if let Some(text) = read(&path)? {
            return Ok(Some((path, text)));
        }
    }
    Ok(None)
}

/// The file's text; `None` if there is no such file.
fn read(path: &Path) -> Result<Option<String>, ConfigError> {
    let failed = |source| ConfigError::Read { path: path.to_owned(), source };
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
    if read as u64 > FILE_BYTES_MAX {
        let reason = format!("longer than {FILE_BYTES_MAX} bytes");
        return Err(ConfigError::Syntax { path: path.to_owned(), reason });
    }
    Ok(Some(text))
}
