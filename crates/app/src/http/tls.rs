//! HTTPS: the certificate, and replacing it while the server runs.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// A certificate chain with its private key, and the files they came from. Clones share what is in force.
#[derive(Clone)]
pub struct Certificate {
    chain_file: PathBuf,
    key_file: PathBuf,
    in_force: Arc<InForce>,
}

/// What is wrong with either file.
#[derive(Debug)]
pub struct CertificateErrors {
    /// The certificate chain's.
    pub chain: Option<String>,
    /// The private key's.
    pub key: Option<String>,
}

/// The certificate that new connections get; those that are open keep theirs.
struct InForce(RwLock<Arc<CertifiedKey>>);

impl Certificate {
    /// Reads both files and checks that they belong together.
    pub fn read(chain_file: PathBuf, key_file: PathBuf) -> Result<Self, CertificateErrors> {
        let in_force = Arc::new(InForce(RwLock::new(read(&chain_file, &key_file)?)));
        Ok(Self { chain_file, key_file, in_force })
    }

    /// Reads both files again. New connections get what they hold now; when something is wrong with them, what they
    /// held before stays in force.
    pub fn reload(&self) -> Result<(), CertificateErrors> {
        let read = read(&self.chain_file, &self.key_file)?;
        *self.in_force.0.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// The configuration of a server that shows whatever certificate is in force. TLS 1.2 and 1.3; actix adds the
    /// protocols that ALPN offers.
    ///
    /// # Panics
    ///
    /// Never: the provider offers rustls' default protocol versions.
    #[must_use]
    pub fn server_config(&self) -> ServerConfig {
        ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring offers the default protocol versions")
            .with_no_client_auth()
            .with_cert_resolver(self.in_force.clone())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("chain_file", &self.chain_file).finish_non_exhaustive()
    }
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InForce(not shown)")
    }
}

impl ResolvesServerCert for InForce {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
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

    fn files(folder: &Path, chain: &str, key: &str) -> (PathBuf, PathBuf) {
        let (chain_file, key_file) = (folder.join("chain.pem"), folder.join("key.pem"));
        fs::write(&chain_file, chain).unwrap();
        fs::write(&key_file, key).unwrap();
        (chain_file, key_file)
    }

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn both_files_must_be_right_and_belong_together() {
        let folder = tempfile::tempdir().unwrap();
        let ((chain, key), (_, other_key)) = (pair(), pair());
        for (chain_text, key_text, chain_wrong, key_wrong) in [
            (chain.as_str(), key.as_str(), false, false),
            ("", "", true, true),
            ("", key.as_str(), true, false),
            (chain.as_str(), "-----BEGIN PRIVATE KEY-----", false, true),
            (chain.as_str(), other_key.as_str(), false, true),
        ] {
            let (chain_file, key_file) = files(folder.path(), chain_text, key_text);
            let read = Certificate::read(chain_file, key_file);
            let (wrong_chain, wrong_key) =
                read.map_or_else(|errors| (errors.chain.is_some(), errors.key.is_some()), |_| (false, false));
            assert_eq!((wrong_chain, wrong_key), (chain_wrong, key_wrong), "{chain_text} {key_text}");
        }
    }

    #[test]
    fn a_bad_replacement_changes_nothing_and_a_good_one_is_in_force_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (chain, key) = pair();
        let (chain_file, key_file) = files(folder.path(), &chain, &key);
        let certificate = Certificate::read(chain_file, key_file).unwrap();
        let in_force = || certificate.in_force.0.read().unwrap().cert.clone();
        let first = in_force();
        files(folder.path(), "nothing", &key);
        assert!(certificate.reload().is_err());
        assert_eq!(in_force(), first);
        let (chain, key) = pair();
        files(folder.path(), &chain, &key);
        certificate.reload().unwrap();
        assert_ne!(in_force(), first);
    }
}
