//! TLS of the server: the certificate in force, and replacing it while the server runs.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use rustls::{
    ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use crate::config::certificate::{Certificate, CertificateErrors};

/// The certificate that new connections get; open connections keep theirs. Clones share it.
#[derive(Clone)]
pub struct CertificateInForce(Arc<RwLock<Certificate>>);

impl CertificateInForce {
    /// Puts a certificate in force.
    #[must_use]
    pub fn new(certificate: Certificate) -> Self {
        Self(Arc::new(RwLock::new(certificate)))
    }

    fn key(&self) -> Arc<CertifiedKey> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).key.clone()
    }

    /// Reads both files again. New connections get what they hold now. When something is wrong with them, the former
    /// certificate stays in force.
    pub fn reload(&self) -> Result<(), CertificateErrors> {
        let former = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        let read = former.read_again()?;
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = read;
        Ok(())
    }

    /// The configuration of a server that presents the certificate in force: TLS 1.2 and 1.3, HTTP/1.1.
    ///
    /// # Panics
    ///
    /// Never: the provider offers rustls' default protocol versions.
    #[must_use]
    pub fn server_config(&self) -> ServerConfig {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring offers the default protocol versions")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config
    }
}

impl fmt::Debug for CertificateInForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertificateInForce(not shown)")
    }
}

impl ResolvesServerCert for CertificateInForce {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.key())
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_invalid_replacement_is_ignored_and_a_valid_one_is_used_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (chain_file, key_file) = (folder.path().join("chain.pem"), folder.path().join("key.pem"));
        let write = || {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            fs::write(&chain_file, made.cert.pem()).unwrap();
            fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
        };
        write();
        let certificate = Certificate::read(chain_file.clone(), key_file.clone()).unwrap();
        let in_force = CertificateInForce::new(certificate);
        let first = in_force.key().cert.clone();
        fs::write(&chain_file, "nothing").unwrap();
        assert!(in_force.reload().is_err());
        assert_eq!(in_force.key().cert, first);
        write();
        in_force.reload().unwrap();
        assert_ne!(in_force.key().cert, first);
    }
}
