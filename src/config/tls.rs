//! A listener's address and, if connections to it are encrypted, where its certificate is.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::domain::Timestamp;
use crate::listen::{Identity, IdentityError};

use super::credential::{Reference, reference_at};
use super::environment::Environment;
use super::files;
use super::findings::{Place, Placed, Report};
use super::quantity::address;
use super::reader::Section;

/// Certificates that expire sooner are warned of.
const EXPIRES_SOON: Duration = Duration::from_secs(14 * 24 * 60 * 60);
const EXPECTED: &str = "expected where it is, not the thing itself: PATH, {file: PATH} or {credential: NAME} (systemd)";
const HINT: &str = "write where it is: PATH, {file: PATH} or {credential: NAME}";

/// A listener as it is written: an address, or an address and more.
#[derive(Debug, Default)]
pub(super) struct WrittenListener {
    pub(super) address: Option<Placed<SocketAddr>>,
    pub(super) tls: Option<WrittenTls>,
}

#[derive(Debug)]
pub(super) struct WrittenTls {
    place: Place,
    cert: Option<Placed<Reference>>,
    key: Option<Placed<Reference>>,
    client_ca: Option<Placed<Reference>>,
}

/// Where a listener's identity was read from, as far as it may be shown.
#[derive(Debug)]
pub(super) struct TlsSource {
    pub(super) cert: Reference,
    pub(super) key: Reference,
    pub(super) client_ca: Option<Reference>,
}

/// Reads the listener called `name`.
pub(super) fn listener(listen: &Section<'_>, name: &'static str, directory: &Path) -> WrittenListener {
    if !listen.is_section(name) {
        return WrittenListener { address: listen.optional(name, address), tls: None };
    }
    listen.section(name, |listener| WrittenListener {
        address: listener.required("address", "where to listen, like 127.0.0.1:41002", address),
        tls: listener.section("tls", |tls| {
            tls.is_present().then(|| WrittenTls {
                place: tls.place().clone(),
                cert: required(tls, "cert", directory),
                key: required(tls, "key", directory),
                client_ca: pem(tls, "client_ca", directory),
            })
        }),
    })
}

fn required(tls: &Section<'_>, name: &'static str, directory: &Path) -> Option<Placed<Reference>> {
    if !tls.has(name) {
        let place = tls.place().at(format!("{}.{name}", tls.place().setting));
        tls.report().fault(&place, format!("missing; {HINT}"));
    }
    pem(tls, name, directory)
}

/// A path alone, or a reference like those of providers' keys.
fn pem(tls: &Section<'_>, name: &'static str, directory: &Path) -> Option<Placed<Reference>> {
    if tls.is_section(name) {
        return reference_at(tls, name, EXPECTED, directory);
    }
    tls.optional(name, |text| match text.contains("-----BEGIN") {
        true => Err(EXPECTED.into()),
        false => files::path_from(directory, text).map(Reference::File),
    })
}

/// The identity that is written for a listener whose clients speak `protocols`.
pub(super) fn identity(
    written: Option<&WrittenTls>,
    protocols: &[&str],
    environment: &dyn Environment,
    report: &Report,
) -> Option<(Arc<Identity>, TlsSource)> {
    let tls = written?;
    let read = |reference: &Option<Placed<Reference>>, secret: bool| {
        let Placed { value, place } = reference.as_ref()?;
        match value.text(environment) {
            Ok((text, warning)) => {
                warning.filter(|_| secret).into_iter().for_each(|warning| report.warn(place, warning));
                Some((text, value.clone(), place.clone()))
            }
            Err(fault) => {
                report.fault(place, fault);
                None
            }
        }
    };
    // All are looked at before one ends the matter, so that the faults of all are reported.
    let (cert, key, client_ca) = (read(&tls.cert, false), read(&tls.key, true), read(&tls.client_ca, false));
    let (certificates, cert, cert_place) = cert?;
    let (key_text, key, key_place) = key?;
    if tls.client_ca.is_some() && client_ca.is_none() {
        return None;
    }
    let authorities = client_ca.as_ref().map(|(text, ..)| text.expose());
    match Identity::new(certificates.expose(), &key_text, authorities, protocols) {
        Ok(identity) => {
            warn_of_expiry(&identity, &cert_place, report);
            let client_ca = client_ca.map(|(_, reference, _)| reference);
            Some((Arc::new(identity), TlsSource { cert, key, client_ca }))
        }
        Err(error) => {
            let place = match &error {
                IdentityError::Certificate => &cert_place,
                IdentityError::Key | IdentityError::Mismatch => &key_place,
                IdentityError::ClientCa => tls.client_ca.as_ref().map_or(&tls.place, |placed| &placed.place),
                IdentityError::Refused(_) => &tls.place,
            };
            report.fault(place, error.to_string());
            None
        }
    }
}

/// An expired certificate is no fault: a gateway that does not start helps nobody.
fn warn_of_expiry(identity: &Identity, place: &Place, report: &Report) {
    let (now, expires_at) = (Timestamp::from(SystemTime::now()), identity.expires_at());
    if expires_at <= now {
        report.warn(place, format!("the certificate expired at {expires_at}: clients will refuse it"));
    } else if expires_at <= now.saturating_add(EXPIRES_SOON) {
        report.warn(place, format!("the certificate expires at {expires_at}: renew it, then `kt config reload`"));
    }
}
