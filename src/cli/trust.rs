//! Whom a command believes to be the gateway, and what it shows of itself, when it speaks TLS.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::Error;

const HEADING: &str = "Where the gateway is";

/// The options beside `--url https://…`.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Trust {
    /// The CA that signed the gateway's certificate, in PEM [default: those this machine trusts]
    #[arg(long, global = true, env = "KEEPTRUSTS_CA", value_name = "FILE", help_heading = HEADING)]
    ca: Option<PathBuf>,
    /// A client certificate in PEM, for a gateway that asks for one
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING, requires = "client_key")]
    client_cert: Option<PathBuf>,
    /// The client certificate's private key in PEM
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING, requires = "client_cert")]
    client_key: Option<PathBuf>,
}

/// Greets a gateway of one name.
#[derive(Clone)]
pub(super) struct Greeter {
    connector: TlsConnector,
    name: ServerName<'static>,
}

impl Trust {
    pub(super) fn greeter(&self, host: &str) -> Result<Greeter, Error> {
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let name = ServerName::try_from(host).map_err(|_| Error::Usage("--url names no host".into()))?;
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().map_err(failed)?;
        let builder = builder.with_root_certificates(self.roots()?);
        let config = match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, &error))?;
                builder.with_client_auth_cert(certificates(certificate)?, key).map_err(failed)?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Greeter { connector: TlsConnector::from(Arc::new(config)), name })
    }

    fn roots(&self) -> Result<RootCertStore, Error> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(ca) => {
                for certificate in certificates(ca)? {
                    roots.add(certificate).map_err(failed)?;
                }
            }
            // Those that cannot be read are no reason to fail: others may do.
            None => _ = roots.add_parsable_certificates(rustls_native_certs::load_native_certs().unwrap_or_default()),
        }
        Ok(roots)
    }
}

impl Greeter {
    pub(super) async fn greet(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.connector.connect(self.name.clone(), stream).await
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let found = found.map_err(|error| unreadable(path, &error))?;
    if found.is_empty() { Err(Error::Failed(format!("{} holds no certificate", path.display()))) } else { Ok(found) }
}

fn unreadable(path: &Path, error: &rustls::pki_types::pem::Error) -> Error {
    Error::Failed(format!("failed to read {}: {error}", path.display()))
}

fn failed(error: rustls::Error) -> Error {
    Error::Failed(format!("TLS cannot be set up: {error}"))
}
