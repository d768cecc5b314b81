//! A certificate, its key and whose clients are let in: all that a listener needs for TLS.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::domain::{Secret, Timestamp};

/// Who a listener is to those who connect, and who may.
pub struct Identity {
    tls: Arc<ServerConfig>,
    expires_at: Timestamp,
    asks_for_certificates: bool,
}

/// The identity of a listener at this moment; none where connections are not encrypted.
#[derive(Debug, Default)]
pub struct CurrentIdentity(ArcSwapOption<Identity>);

/// Why an identity makes no sense.
#[derive(Debug)]
pub enum IdentityError {
    /// There is no certificate in the file, or none that can be read.
    Certificate,
    Key,
    /// The key is not that of the first certificate.
    Mismatch,
    ClientCa,
    /// The cryptography does not take it, for this reason.
    Refused(rustls::Error),
}

impl Identity {
    /// An identity of PEM texts, for clients that speak one of `protocols` (as ALPN names them, best first). With
    /// `client_ca`, only clients with a certificate of that authority are let in.
    pub fn new(
        certificates: &str,
        key: &Secret,
        client_ca: Option<&str>,
        protocols: &[&str],
    ) -> Result<Self, IdentityError> {
        let chain = certificates_of(certificates).ok_or(IdentityError::Certificate)?;
        let expires_at = chain.first().and_then(expiry).ok_or(IdentityError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key.expose().as_bytes()).map_err(|_| IdentityError::Key)?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone());
        let builder = builder.with_safe_default_protocol_versions().map_err(IdentityError::Refused)?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates_of(authorities).ok_or(IdentityError::ClientCa)? {
                    roots.add(authority).map_err(|_| IdentityError::ClientCa)?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|_| IdentityError::ClientCa)?)
            }
        };
        let mut tls = builder.with_single_cert(chain, key).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => IdentityError::Mismatch,
            error => IdentityError::Refused(error),
        })?;
        tls.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        Ok(Self { tls: Arc::new(tls), expires_at, asks_for_certificates: client_ca.is_some() })
    }

    /// When the listener's own certificate expires.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Whether clients need a certificate.
    pub fn asks_for_certificates(&self) -> bool {
        self.asks_for_certificates
    }

    pub fn tls(&self) -> Arc<ServerConfig> {
        self.tls.clone()
    }
}

impl CurrentIdentity {
    /// The identity to greet the next connection with.
    pub fn load(&self) -> Option<Arc<Identity>> {
        self.0.load_full()
    }

    /// Greets those who connect from now on with `identity`.
    pub fn replace(&self, identity: Option<Arc<Identity>>) {
        self.0.store(identity);
    }
}

/// Every certificate of a PEM text; none if there is none or one cannot be read.
fn certificates_of(text: &str) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, PemError> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    found.ok().filter(|found| !found.is_empty())
}

fn expiry(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    parsed.validity().not_after.timestamp().checked_mul(1_000_000).map(Timestamp::from_micros)
}

/// Nothing of a key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("expires_at", &self.expires_at).finish_non_exhaustive()
    }
}

impl fmt::Display for IdentityError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate => {
                f.write_str("no readable certificate: PEM with the listener's own first, then its chain")
            }
            Self::Key => f.write_str("no readable private key: PEM, PKCS#8 or SEC1 or PKCS#1, without a passphrase"),
            Self::Mismatch => f.write_str("the key does not belong to the certificate: were both renewed?"),
            Self::ClientCa => f.write_str("no readable authority: PEM with at least one certificate"),
            Self::Refused(error) => write!(f, "the certificate or its key cannot be used: {error}"),
        }
    }
}

impl std::error::Error for IdentityError {}
