//! Pictures, speech and transcripts, plain and streamed: what an answer says about its use, where it does.
//!
//! The newer models report tokens, the older ones are priced by the picture, the second or the character, and say
//! nothing. A stream is over with the event whose type ends in `.completed` or `.done`.

use serde::Deserialize;

use crate::domain::Tokens;
use crate::protocol::Endpoint;
use crate::protocol::event::{Event as Sent, Name};
use crate::protocol::json::lenient::{Object, Present, Text, read};
use crate::protocol::meter::Metered;

use super::usage::Usage;

/// Follows a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    pub(crate) makes: Makes,
}

/// What an answer consists of, where it does not tell its tokens apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Makes {
    Pictures,
    Speech,
    Text,
}

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
        let mut spare = Vec::new();
        let Ok(Object(Some(event))) = read::<Object<Answer>>(data, &mut spare) else { return };
        let kind = event.kind.as_str();
        let (is_error, is_last) = (kind == "error", [".completed", ".done"].iter().any(|end| kind.ends_with(end)));
        event.tell(self.makes, metered);
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

impl Makes {
    pub(crate) fn of(endpoint: Endpoint) -> Self {
        match endpoint {
            Endpoint::ImageGenerations | Endpoint::ImageEdits | Endpoint::ImageVariations => Self::Pictures,
            Endpoint::Speech => Self::Speech,
            _ => Self::Text,
        }
    }
}

/// Reads a plain answer with pictures.
pub(crate) fn pictures(text: &[u8], metered: &mut Metered) {
    document(Makes::Pictures, text, metered);
}

/// Reads a plain answer that is a transcript.
pub(crate) fn transcript(text: &[u8], metered: &mut Metered) {
    document(Makes::Text, text, metered);
}

/// Reads a plain answer that is sound, or says why it is not.
pub(crate) fn speech(text: &[u8], metered: &mut Metered) {
    document(Makes::Speech, text, metered);
}

/// The answer may be sound or mere text.
fn document(makes: Makes, text: &[u8], metered: &mut Metered) {
    let mut spare = Vec::new();
    if text.trim_ascii_start().starts_with(b"{")
        && let Ok(Object(Some(answer))) = read::<Object<Answer>>(text, &mut spare)
    {
        answer.tell(makes, metered);
    }
    metered.complete();
}

impl Answer {
    fn tell(self, makes: Makes, metered: &mut Metered) {
        metered.has_error |= self.error.0;
        let usage = self.usage.or_default();
        metered.charged = usage.charged().or(metered.charged);
        let is_told_apart = usage.tells_output_apart();
        let generated = usage.generated().map(|tokens| match makes {
            Makes::Pictures if !is_told_apart => Tokens { output_image: tokens.output, ..tokens },
            Makes::Speech if !is_told_apart => Tokens { output_audio: tokens.output, ..tokens },
            _ => tokens,
        });
        metered.tokens = generated.or(metered.tokens);
    }
}
