//! Pictures, speech and transcripts, plain and streamed: what an answer says about its use, where it does.
//!
//! The newer models report tokens, the older ones are priced by the picture, the second or the character, and say
//! nothing. A stream is over with the event whose type ends in `.completed` or `.done`.

use serde::Deserialize;

use crate::protocol::event::{Event as Sent, Name};
use crate::protocol::json::lenient::{Object, Present, Text};
use crate::protocol::meter::Metered;

use super::usage::Usage;

/// Follows a stream.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reader;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Answer {
    #[serde(rename = "type")]
    kind: Text,
    usage: Object<Usage>,
    error: Present,
}

impl Reader {
    pub(crate) fn event(self, data: &[u8], metered: &mut Metered) {
        if data.trim_ascii() == b"[DONE]" {
            return metered.complete();
        }
        let Ok(Object(Some(event))) = serde_json::from_slice::<Object<Answer>>(data) else { return };
        let kind = event.kind.as_str();
        let (is_error, is_last) = (kind == "error", [".completed", ".done"].iter().any(|end| kind.ends_with(end)));
        event.tell(metered);
        metered.has_error |= is_error;
        if is_last {
            metered.complete();
        }
    }

    /// What a torn event becomes. There is no ordinary end to a picture: a cut stream ends in an error.
    pub(crate) fn filler() -> Sent {
        Sent::new(Name::Default, &Empty {})
    }
}

#[derive(serde::Serialize)]
struct Empty {}

/// Reads a plain answer, which may be sound or mere text.
pub(crate) fn document(text: &[u8], metered: &mut Metered) {
    if text.trim_ascii_start().starts_with(b"{")
        && let Ok(Object(Some(answer))) = serde_json::from_slice::<Object<Answer>>(text)
    {
        answer.tell(metered);
    }
    metered.complete();
}

impl Answer {
    fn tell(self, metered: &mut Metered) {
        metered.has_error |= self.error.0;
        let usage = self.usage.or_default();
        metered.charged = usage.charged().or(metered.charged);
        metered.tokens = usage.generated().or(metered.tokens);
    }
}
