//! The certificate of HTTPS, read from its two files.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};

/// A certificate chain with its private key, and the files they came from.
#[derive(Clone)]
pub struct Certificate {
    chain_file: PathBuf,
    key_file: PathBuf,
    /// The chain and the key.
    pub key: Arc<CertifiedKey>,
}

/// What is wrong with either file.
#[derive(Debug)]
pub struct CertificateErrors {
    /// The certificate chain's.
    pub chain: Option<String>,
    /// The private key's.
    pub key: Option<String>,
}

impl Certificate {
    /// Reads both files and checks that they belong together.
    pub fn read(chain_file: PathBuf, key_file: PathBuf) -> Result<Self, CertificateErrors> {
        let key = read(&chain_file, &key_file)?;
        Ok(Self { chain_file, key_file, key })
    }

    /// Reads both files again.
    pub fn read_again(&self) -> Result<Self, CertificateErrors> {
        Self::read(self.chain_file.clone(), self.key_file.clone())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("chain_file", &self.chain_file).finish_non_exhaustive()
    }
}

fn read(chain_file: &Path, key_file: &Path) -> Result<Arc<CertifiedKey>, CertificateErrors> {
    let (chain, key) = match (chain_of(chain_file), key_of(key_file)) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err(CertificateErrors { chain: chain.err(), key: key.err() }),
    };
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map(Arc::new).map_err(|error| CertificateErrors {
        chain: None,
        key: Some(format!("must hold the private key of the certificate in TLS_CERT_FILE ({error})")),
    })
}

fn chain_of(file: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let refused = |error: &dyn fmt::Display| format!("must be a readable file of PEM certificates ({error})");
    let pem = fs::read(file).map_err(|error| refused(&error))?;
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&pem).collect::<Result<_, _>>().map_err(|error| refused(&error))?;
    if chain.is_empty() { Err(refused(&"no certificate found")) } else { Ok(chain) }
}

fn key_of(file: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let refused = |error: &dyn fmt::Display| format!("must be a readable file with a PEM private key ({error})");
    let pem = fs::read(file).map_err(|error| refused(&error))?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|error| refused(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_files(folder: &Path, chain: &str, key: &str) -> (PathBuf, PathBuf) {
        let (chain_file, key_file) = (folder.join("chain.pem"), folder.join("key.pem"));
        fs::write(&chain_file, chain).unwrap();
        fs::write(&key_file, key).unwrap();
        (chain_file, key_file)
    }

    fn generate_certificate() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn both_files_must_be_valid_and_match() {
        let folder = tempfile::tempdir().unwrap();
        let ((chain, key), (_, other_key)) = (generate_certificate(), generate_certificate());
        for (chain_text, key_text, chain_wrong, key_wrong) in [
            (chain.as_str(), key.as_str(), false, false),
            ("", "", true, true),
            ("", key.as_str(), true, false),
            (chain.as_str(), "-----BEGIN PRIVATE KEY-----", false, true),
            (chain.as_str(), other_key.as_str(), false, true),
        ] {
            let (chain_file, key_file) = write_files(folder.path(), chain_text, key_text);
            let read = Certificate::read(chain_file, key_file);
            let (wrong_chain, wrong_key) =
                read.map_or_else(|errors| (errors.chain.is_some(), errors.key.is_some()), |_| (false, false));
            assert_eq!((wrong_chain, wrong_key), (chain_wrong, key_wrong), "{chain_text} {key_text}");
        }
    }
}
