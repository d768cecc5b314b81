//! A body of `multipart/form-data`: sound to transcribe, pictures to edit. The model is one of its parts.
//!
//! It is read more strictly than the format allows, because whoever reads it otherwise would see another model: it
//! begins with its boundary, lines end with CRLF, and each part names itself once and plainly.

use memchr::memmem::Finder;

use crate::domain::ServiceTier;

use super::{AskError, AskHead, Name, Places, model};

/// Parts a form may have; more are no request that a model takes.
const PARTS_MAX: usize = 64;
const BOUNDARY_BYTES_MAX: usize = 70;

/// The boundary that a content type names; `None` if it is no form's.
pub fn boundary(content_type: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(content_type).ok()?;
    let (kind, parameters) = text.split_once(';')?;
    let mut parameters = parameters.split(';').filter_map(|parameter| parameter.trim().split_once('='));
    let (_, boundary) = parameters.find(|(name, _)| name.eq_ignore_ascii_case("boundary"))?;
    let boundary = boundary.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(boundary);
    let is_form = kind.trim().eq_ignore_ascii_case("multipart/form-data");
    (is_form && (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())).then_some(boundary)
}

/// Reads the head of a form with this boundary. `named` is the model that the path names, if it does.
pub fn read_form(boundary: &str, named: Option<&str>, body: &[u8]) -> Result<AskHead, AskError> {
    let mut fields = Fields::default();
    let delimiter = format!("\r\n--{boundary}");
    let finder = Finder::new(delimiter.as_bytes());
    let opening = delimiter.trim_start().as_bytes();
    let mut at = if body.starts_with(opening) { opening.len() } else { return Err(AskError::NotAForm) };
    for _ in 0..=PARTS_MAX {
        let rest = body.get(at..).unwrap_or_default();
        if rest.starts_with(b"--") {
            return fields.head(named);
        }
        let content = rest.strip_prefix(b"\r\n").ok_or(AskError::NotAForm)?;
        let begin = at + 2;
        let length = finder.find(content).ok_or(AskError::NotAForm)?;
        fields.add(content.get(..length).unwrap_or_default(), begin)?;
        at = begin + length + delimiter.len();
    }
    Err(AskError::NotAForm)
}

/// The parts that decide something.
#[derive(Default)]
struct Fields {
    model: Option<(String, Name)>,
    stream: Option<bool>,
}

impl Fields {
    /// Takes a part that begins at `begin` of the body.
    fn add(&mut self, part: &[u8], begin: usize) -> Result<(), AskError> {
        let head_length = Finder::new(b"\r\n\r\n").find(part).ok_or(AskError::NotAForm)?;
        let head = part.get(..head_length).and_then(|head| std::str::from_utf8(head).ok()).ok_or(AskError::NotAForm)?;
        let name = name(head)?;
        let value = part.get(head_length + 4..).unwrap_or_default();
        let text = || std::str::from_utf8(value).map_err(|_| AskError::NotAForm);
        match name {
            "model" => {
                let start = begin + head_length + 4;
                let name = Name { range: start..start + value.len(), prefix: "" };
                let quoted = serde_json::to_string(text()?).map_err(|_| AskError::NotAForm)?;
                if self.model.replace((model(&quoted)?, name)).is_some() {
                    return Err(AskError::Ambiguous { member: "model" });
                }
            }
            "stream" => {
                let stream = matches!(text()?, "true" | "True" | "1");
                if self.stream.replace(stream).is_some() {
                    return Err(AskError::Ambiguous { member: "stream" });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn head(self, named: Option<&str>) -> Result<AskHead, AskError> {
        let (written, names) = match self.model {
            Some((model, name)) => (Some(model), vec![name]),
            None => (None, Vec::new()),
        };
        let model = named.map(str::to_owned).or(written).ok_or(AskError::ModelMissing)?;
        Ok(AskHead {
            model,
            stream: self.stream.unwrap_or(false),
            output_tokens_max: None,
            answers: 1,
            tier: ServiceTier::Standard,
            includes_usage: true,
            at: Places { names, is_form: true, ..Places::default() },
        })
    }
}

/// The name that a part gives itself.
fn name(head: &str) -> Result<&str, AskError> {
    let mut found = None;
    for line in head.split("\r\n") {
        let (header, value) = line.split_once(':').ok_or(AskError::NotAForm)?;
        if !header.eq_ignore_ascii_case("content-disposition") {
            continue;
        }
        let parameters = value.trim().strip_prefix("form-data").ok_or(AskError::NotAForm)?;
        for parameter in parameters.split(';').map(str::trim) {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let is_name = key.trim().get(..4).is_some_and(|start| start.eq_ignore_ascii_case("name"));
            if !is_name {
                continue;
            }
            let plain = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            let plain = plain.filter(|text| key == "name" && !text.contains(['"', '\\', '%', '\r', '\n']));
            if found.replace(plain.ok_or(AskError::NotAForm)?).is_some() {
                return Err(AskError::NotAForm);
            }
        }
    }
    found.ok_or(AskError::NotAForm)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::super::splice;
    use super::*;

    const FORM: &str = "--b0\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav\r\n\r\n\
        RIFF--b0x\r\n\r\nContent-Disposition: form-data; name=\"model\"\r\n\
        \r\n--b0\r\ncontent-disposition: form-data; name=\"model\"\r\n\r\nfast\r\n--b0\r\n\
        Content-Disposition: form-data; name=\"stream\"\r\n\r\ntrue\r\n--b0--\r\n";

    #[test]
    fn the_model_is_found_among_the_parts_and_can_be_replaced() {
        let head = read_form("b0", None, FORM.as_bytes()).unwrap();
        assert_eq!((head.model.as_str(), head.stream), ("fast", true));
        let edited = splice(&Bytes::from(FORM), &head.edits(Some("gpt-4o-transcribe"), false));
        assert_eq!(edited, FORM.replace("\r\nfast\r\n", "\r\ngpt-4o-transcribe\r\n"));
    }

    #[test]
    fn what_others_might_read_otherwise_is_refused() {
        for odd in [
            "",
            "--b0",
            "--b0--",
            "preamble\r\n--b0\r\n",
            &FORM.replace("\r\n", "\n"),
            &FORM.replace("name=\"model\"\r\n\r\nfast", "name=model\r\n\r\nfast"),
            &FORM.replace("name=\"model\"\r\n\r\nfast", "name*=utf-8''model\r\n\r\nfast"),
            &FORM.replace("name=\"model\"\r\n\r\nfast", "name=\"x\"; name=\"model\"\r\n\r\nfast"),
            &FORM.replace("name=\"model\"\r\n\r\nfast", "name=\"mod%65l\"\r\n\r\nfast"),
            &FORM.replace("--b0--", ""),
        ] {
            assert!(
                matches!(read_form("b0", None, odd.as_bytes()), Err(AskError::NotAForm | AskError::ModelMissing)),
                "{odd}"
            );
        }
        let twice = FORM.replace("name=\"stream\"", "name=\"model\"");
        assert_eq!(read_form("b0", None, twice.as_bytes()), Err(AskError::Ambiguous { member: "model" }));
    }

    #[test]
    fn a_boundary_stands_in_the_content_type() {
        assert_eq!(boundary(b"multipart/form-data; boundary=abc"), Some("abc"));
        assert_eq!(boundary(b"Multipart/Form-Data; charset=utf-8; Boundary=\"a b\""), Some("a b"));
        for other in [
            "multipart/form-data",
            "application/json; boundary=x",
            "multipart/mixed; boundary=x",
            "multipart/form-data; boundary=",
        ] {
            assert_eq!(boundary(other.as_bytes()), None, "{other}");
        }
    }
}
