//! Where events are sent as they are recorded, and the secret that what is sent is signed with.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::Uri;
use sha2::Sha256;
use zeroize::Zeroizing;

/// How a secret begins that is written as the field does.
const SECRET_PREFIX: &str = "whsec_";
/// The secret's length in bytes.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The operator's receiver of events.
#[derive(Clone, Debug)]
pub struct Webhook {
    pub url: WebhookUrl,
    pub key: SigningKey,
    /// How long one delivery is tried before it is given up.
    pub give_up_after: Duration,
}

/// Where deliveries are posted to. Nobody but the operator says it, and no answer leads anywhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookUrl {
    pub tls: bool,
    pub host: String,
    pub port: u16,
    pub path: String,
}

/// Signs deliveries: HMAC-SHA256.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl WebhookUrl {
    /// Reads `https://host[:port][/path]`; else says what it should be.
    pub fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "not a URL: write it like https://siem.example/events")?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err("a webhook's URL begins with https:// or http://".into()),
        };
        let authority = uri.authority().ok_or("a webhook's URL has a host")?;
        if authority.as_str().contains('@') {
            return Err("a URL cannot hold credentials: receivers know a delivery by its signature".into());
        }
        if uri.query().is_some() || text.contains('#') {
            return Err("a webhook's URL has no query and no fragment: what stands there is shown and logged".into());
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() || tls && host.parse::<IpAddr>().is_ok() {
            return Err("an https URL needs a host name, because the certificate is verified against it".into());
        }
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        Ok(Self { tls, host, port, path: uri.path().to_owned() })
    }

    /// The value of the `Host` header.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.tls, self.port) {
            (true, 443) | (false, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl SigningKey {
    /// Reads a secret: 24 to 64 bytes in base64, with or without `whsec_` in front. The error says what it should be,
    /// and nothing of what it is.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const EXPECTED: &str =
            "not a signing secret: 24 to 64 random bytes in base64, like what `openssl rand -base64 32` prints";
        let encoded = text.strip_prefix(SECRET_PREFIX).unwrap_or(text);
        let secret = Zeroizing::new(STANDARD.decode(encoded).map_err(|_| EXPECTED)?);
        if !SECRET_BYTES.contains(&secret.len()) {
            return Err(EXPECTED);
        }
        Hmac::new_from_slice(&secret).map(Self).map_err(|_| EXPECTED)
    }

    /// The signature of what consists of these parts, in base64.
    pub fn sign(&self, parts: &[&[u8]]) -> String {
        let mut mac = self.0.clone();
        parts.iter().for_each(|part| mac.update(part));
        STANDARD.encode(mac.finalize().into_bytes())
    }
}

impl fmt::Display for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_kept_as_it_is_written() {
        for text in ["https://siem.example/in/v1/", "http://127.0.0.1:9000/", "http://[::1]:80/x", "https://a:8443/"] {
            let url = WebhookUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), text.replace(":80/", "/"));
        }
        assert_eq!(WebhookUrl::parse("https://siem.example").unwrap().path, "/");
        for bad in
            ["siem.example", "ftp://a/", "https://u:p@a/", "https://a/?token=1", "https://a/#x", "https://10.0.0.1/"]
        {
            assert!(WebhookUrl::parse(bad).is_err(), "{bad}");
        }
    }

    /// The example of the Standard Webhooks specification.
    #[test]
    fn it_signs_as_the_field_does() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let parts: [&[u8]; 3] = [b"msg_p5jXN8AQM9LWM0D4loKWxJek.", b"1614265330.", b"{\"test\": 2432232314}"];
        assert_eq!(key.sign(&parts), "g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(format!("{key:?}"), "(secret)");
    }

    #[test]
    fn a_secret_that_could_be_guessed_is_none() {
        for bad in ["", "whsec_", "secret", "whsec_c2hvcnQ=", &STANDARD.encode([7; 65]), "not base64 at all, is it?!"] {
            assert!(SigningKey::parse(bad).is_err(), "{bad}");
        }
        assert!(SigningKey::parse(&STANDARD.encode([7; 32])).is_ok());
    }
}
