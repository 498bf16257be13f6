//! Our own identity from an MSP folder, and our TLS pair from its files. Read once, at start; secrets are never printed.

use std::{
    fmt,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use rustls::{
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::{
    CertificateError, Identity, MspError, MspId, Purpose, SerializedIdentity, Signer, certificate::first_pem_block,
};

/// Largest certificate or key file that is read.
pub(super) const FILE_BYTES_MAX: u64 = 64 << 10;
/// Most key files that are tried in a keystore.
const KEYS_MAX: usize = 64;

/// Who we are: an identity and the key that belongs to it.
#[derive(Debug)]
pub struct LocalIdentity {
    /// What others see.
    pub identity: Identity,
    signer: Signer,
}

impl LocalIdentity {
    /// From an MSP folder: the first file of `signcerts/`, and the key in `keystore/` that belongs to it.
    ///
    /// # Errors
    /// If a file can't be read or used, or no key belongs to the certificate.
    pub fn load(msp_id: &MspId, msp_dir: &Path) -> Result<Self, MspError> {
        let certs = msp_dir.join("signcerts");
        let certificate =
            files(&certs)?.into_iter().next().ok_or(MspError::Missing { path: certs, what: "signing certificate" })?;
        // The file may hold text around the block; what travels is the block alone, as Fabric sends it.
        let pem = first_pem_block(&read(&certificate, FILE_BYTES_MAX)?)
            .ok_or_else(|| MspError::CertificateFile { path: certificate.clone(), source: CertificateError::Pem })?;
        let identity = Identity::parse(SerializedIdentity { msp_id: msp_id.clone(), id_bytes: Bytes::from(pem) })?;
        let keys = msp_dir.join("keystore");
        for path in files(&keys)?.into_iter().take(KEYS_MAX) {
            if let Some(signer) = Signer::from_pem(&read(&path, FILE_BYTES_MAX)?)
                && signer.public_key() == identity.certificate().key
            {
                return Ok(Self { identity, signer });
            }
        }
        Err(MspError::KeyMismatch { certificate, keys })
    }

    /// Signs the purpose's prefix and the parts.
    ///
    /// # Errors
    /// [`MspError::Signing`] if the crypto library fails.
    pub fn sign(&self, purpose: Purpose, parts: &[&[u8]]) -> Result<Vec<u8>, MspError> {
        let failed = |_| MspError::Signing { subject: self.identity.subject().to_owned() };
        self.signer.sign(purpose, parts).map_err(failed)
    }

    /// Signs exactly those bytes, as Fabric's organisations sign files and Fabric's clients their requests to a peer. Only for bytes that
    /// were made here and can't be a message of ours.
    pub(crate) fn sign_message(&self, message: &[u8]) -> Result<Vec<u8>, MspError> {
        let failed = |_| MspError::Signing { subject: self.identity.subject().to_owned() };
        self.signer.sign_message(message).map_err(failed)
    }
}

/// Our TLS certificate chain, leaf first, and its key.
pub struct TlsPair {
    /// Leaf first; never empty.
    pub chain: Vec<CertificateDer<'static>>,
    /// The leaf's key.
    pub key: PrivateKeyDer<'static>,
}

impl TlsPair {
    /// From the two PEM files that Fabric uses (`tls/server.crt` and `tls/server.key`, say).
    ///
    /// # Errors
    /// If a file can't be read or used, or they don't belong together.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, MspError> {
        Self::parse(&read(certificate, FILE_BYTES_MAX)?, &read(key, FILE_BYTES_MAX)?, certificate, key)
    }

    /// From PEM texts; `name` stands for the files in errors.
    ///
    /// # Errors
    /// If one can't be used, or they don't belong together.
    pub fn from_pem(certificate: &[u8], key: &[u8], name: &str) -> Result<Self, MspError> {
        Self::parse(certificate, key, Path::new(name), Path::new(name))
    }

    /// The leaf certificate.
    #[must_use]
    pub fn leaf(&self) -> &CertificateDer<'static> {
        self.chain.first().expect("a pair is made only with a leaf")
    }

    fn parse(certificate: &[u8], key: &[u8], certificate_path: &Path, key_path: &Path) -> Result<Self, MspError> {
        let bad_certificate =
            || MspError::CertificateFile { path: certificate_path.to_owned(), source: CertificateError::Pem };
        let bad_key = || MspError::KeyFile { path: key_path.to_owned() };
        let chain: Vec<_> =
            CertificateDer::pem_slice_iter(certificate).collect::<Result<_, _>>().map_err(|_| bad_certificate())?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| bad_key())?;
        if chain.is_empty() {
            return Err(bad_certificate());
        }
        let signing = any_supported_type(&key).map_err(|_| bad_key())?;
        CertifiedKey::new(chain.clone(), signing).keys_match().map_err(|_| MspError::KeyMismatch {
            certificate: certificate_path.to_owned(),
            keys: key_path.to_owned(),
        })?;
        Ok(Self { chain, key })
    }
}

impl Clone for TlsPair {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl fmt::Debug for TlsPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TlsPair({} certificates, key secret)", self.chain.len())
    }
}

/// The regular files of a folder by name, as Fabric takes them.
pub(super) fn files(folder: &Path) -> Result<Vec<PathBuf>, MspError> {
    let failed = |source| MspError::Read { path: folder.to_owned(), source };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// A whole file of at most that many bytes.
pub(super) fn read(path: &Path, limit: u64) -> Result<Vec<u8>, MspError> {
    let failed = |source| MspError::Read { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(failed)?.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(MspError::FileTooLarge { path: path.to_owned(), limit });
    }
    Ok(bytes)
}
