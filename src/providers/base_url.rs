//! Where a provider is: scheme, host, port and path prefix.

use std::fmt;
use std::net::IpAddr;

use http::uri::Scheme;
use http::{HeaderValue, Uri};

/// The address under which a provider's paths begin.
///
/// A trailing `/v1` or `/v1beta` is understood and left out, because paths bring their own version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    tls: bool,
    host: String,
    port: u16,
    prefix: String,
    authority: HeaderValue,
}

/// Why a text is no [`BaseUrl`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BaseUrlError {
    Form,
    Scheme,
    /// Without a host name there is nothing to verify the certificate against, and Pingora would then skip
    /// the verification without a word.
    Host,
    /// Credentials belong in `api_key`, where they can be a reference.
    UserInfo,
    Query,
}

impl BaseUrl {
    /// Reads `https://host[:port][/prefix]`.
    pub fn parse(text: &str) -> Result<Self, BaseUrlError> {
        let uri: Uri = text.trim_end_matches('/').parse().map_err(|_| BaseUrlError::Form)?;
        let tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(BaseUrlError::Scheme),
        };
        let authority = uri.authority().ok_or(BaseUrlError::Host)?;
        if authority.as_str().contains('@') {
            return Err(BaseUrlError::UserInfo);
        }
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
        if host.is_empty() || (tls && host.parse::<IpAddr>().is_ok()) {
            return Err(BaseUrlError::Host);
        }
        if uri.query().is_some() || text.contains('#') {
            return Err(BaseUrlError::Query);
        }
        let path = uri.path().trim_end_matches('/');
        let prefix =
            ["/v1", "/v1beta"].iter().find_map(|version| path.strip_suffix(version)).unwrap_or(path).to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let authority = written_authority(tls, &host, port).try_into().map_err(|_| BaseUrlError::Host)?;
        Ok(Self { tls, host, port, prefix, authority })
    }

    /// Whether the connection is encrypted, and therefore the certificate verified.
    pub fn tls(&self) -> bool {
        self.tls
    }

    /// The host name or address, which is also the server name that certificates are verified against.
    pub fn host(&self) -> &str {
        &self.host
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The value of the `Host` header (RFC 9110 §7.2): the port stands only where it is not the default.
    pub fn authority(&self) -> &HeaderValue {
        &self.authority
    }

    /// The request target for `path`, which begins with `/` and may carry a query.
    pub fn target(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }
}

fn written_authority(tls: bool, host: &str, port: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match (tls, port) {
        (true, 443) | (false, 80) => host,
        (_, port) => format!("{host}:{port}"),
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", written_authority(self.tls, &self.host, self.port), self.prefix)
    }
}

impl fmt::Display for BaseUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Form => "not a URL: write it like https://api.openai.com",
            Self::Scheme => "a provider's URL begins with https:// or http://",
            Self::Host => "an https URL needs a host name, because the certificate is verified against it",
            Self::UserInfo => "a URL cannot hold credentials: use api_key",
            Self::Query => "a provider's URL has no query and no fragment",
        })
    }
}

impl std::error::Error for BaseUrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trailing_version_is_understood() {
        for text in ["https://api.openai.com", "https://api.openai.com/", "https://API.openai.com/v1/"] {
            let url = BaseUrl::parse(text).unwrap();
            assert_eq!((url.host(), url.port(), url.tls()), ("api.openai.com", 443, true), "{text}");
            assert_eq!(url.target("/v1/models"), "/v1/models");
        }
        let url = BaseUrl::parse("https://generativelanguage.googleapis.com/v1beta/").unwrap();
        assert_eq!(url.target("/v1beta/models"), "/v1beta/models");
        let url = BaseUrl::parse("https://openrouter.ai/api/v1").unwrap();
        assert_eq!(url.target("/v1/chat/completions"), "/api/v1/chat/completions");
        assert_eq!(url.to_string(), "https://openrouter.ai/api");
    }

    #[test]
    fn the_host_header_has_the_port_only_where_it_is_unusual() {
        let authority = |text| BaseUrl::parse(text).unwrap().authority().clone();
        assert_eq!(authority("http://127.0.0.1:8000"), "127.0.0.1:8000");
        assert_eq!(authority("http://[::1]:8000"), "[::1]:8000");
        assert_eq!(authority("http://vllm:80"), "vllm");
    }

    #[test]
    fn what_cannot_be_verified_or_kept_secret_is_refused() {
        let error = |text| BaseUrl::parse(text).unwrap_err();
        assert_eq!(error("https://10.0.0.1"), BaseUrlError::Host);
        assert_eq!(error("https://[::1]:8443"), BaseUrlError::Host);
        assert_eq!(error("https://user:pass@host"), BaseUrlError::UserInfo);
        assert_eq!(error("ftp://host"), BaseUrlError::Scheme);
        assert_eq!(error("api.openai.com"), BaseUrlError::Scheme);
        assert_eq!(error("https://host/?key=1"), BaseUrlError::Query);
    }
}
