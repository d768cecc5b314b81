//! `…:generateContent`, and `…:streamGenerateContent` as server-sent events or as one array.

use super::super::answer::{Answer, Deltas, JSON, Refusal, Stream};
use super::super::ask::{Ask, Output};
use super::super::dialect::Question;
use super::super::words::{Pieces, escaped};
use crate::domain::Tokens;

/// How an answer goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Plain,
    Events,
    Array,
}

/// One answer, whichever way it goes out.
struct Content<'a> {
    question: &'a Question<'a>,
    id: String,
    /// Escaped.
    model: String,
    /// The function to call, escaped.
    call: Option<String>,
    output: Output,
    tokens: Tokens,
}

pub(super) fn answer(question: &Question<'_>, ask: &Ask, form: Form) -> Result<Answer, Refusal> {
    if ask.contents.items == 0 {
        return Err(Refusal::new(400, "* GenerateContentRequest.contents: contents is not specified\n"));
    }
    let output = ask.output(question.tokens);
    let content = Content {
        question,
        id: question.id("", 22),
        model: escaped(&ask.model, false),
        call: ask.tool().map(|name| escaped(name, false)),
        output,
        // Nothing is written to a cache that is paid by the request.
        tokens: Tokens { cache_write: 0, cache_write_long: 0, ..ask.usage(output) },
    };
    let answer = match form {
        Form::Plain => Answer::json(content.whole()),
        Form::Events => Answer::stream(content.stream("data: ", "data: ", "\r\n\r\n", None)),
        // The bytes of an array stream as they come, but their type is that of a document.
        Form::Array => {
            let stream = content.stream("[", ",\r\n", "", Some("]\n"));
            Answer { content_type: JSON, ..Answer::stream(stream) }
        }
    };
    Ok(answer.reporting(content.tokens))
}

impl Content<'_> {
    fn whole(&self) -> String {
        let part = match &self.call {
            None => format!(r#"{{"text":"{}"}}"#, self.question.words.joined(Pieces::Text, self.visible())),
            Some(name) => self.called(name),
        };
        self.chunk(&part, Some(self.finish_reason()), &self.usage(self.visible()))
    }

    /// Each event between what begins it and what ends it; `last` ends the whole.
    fn stream(&self, first: &str, next: &str, end: &str, last: Option<&str>) -> Stream {
        // A call comes in one piece.
        let (opening, count) = match &self.call {
            None => (self.chunk(r#"{"text":""}"#, None, &self.usage(0)), self.visible()),
            Some(name) => (self.chunk(&self.called(name), None, &self.usage(self.visible())), 0),
        };
        let finish = self.chunk(r#"{"text":""}"#, Some(self.finish_reason()), &self.usage(self.visible()));
        let mut closing = vec![format!("{next}{finish}{end}")];
        closing.extend(last.map(str::to_owned));
        let message = "The model is overloaded. Please try again later.";
        let error = format!(r#"{{"error":{{"code":503,"message":"{message}","status":"UNAVAILABLE"}}}}"#);
        Stream {
            opening: vec![format!("{first}{opening}{end}")],
            deltas: Deltas {
                before: format!(
                    r#"{next}{{"usageMetadata":{{"promptTokenCount":{}{},"candidatesTokenCount":"#,
                    self.tokens.input,
                    self.rest()
                ),
                first_number: Some(1),
                between: r#"},"candidates":[{"content":{"parts":[{"text":""#.to_owned(),
                after: format!(r#""}}],"role":"model"}},"index":0}}]{}}}{end}"#, self.names()),
                words: self.question.words.clone(),
                pieces: Pieces::Text,
                count,
            },
            closing,
            error: format!("{next}{error}{end}{}", last.unwrap_or_default()),
        }
    }

    fn chunk(&self, part: &str, finish_reason: Option<&str>, usage: &str) -> String {
        let finished = finish_reason.map(|reason| format!(r#","finishReason":"{reason}""#)).unwrap_or_default();
        format!(
            r#"{{"candidates":[{{"content":{{"parts":[{part}],"role":"model"}}{finished},"index":0}}],"usageMetadata":{usage}{}}}"#,
            self.names()
        )
    }

    fn names(&self) -> String {
        format!(r#","modelVersion":"{}","responseId":"{}""#, self.model, self.id)
    }

    fn called(&self, name: &str) -> String {
        let arguments = self.question.words.joined(Pieces::Arguments { cut_short: false }, self.visible());
        let arguments = serde_json::from_str::<String>(&format!("\"{arguments}\"")).unwrap_or_default();
        let arguments = if arguments.is_empty() { "{}" } else { &arguments };
        format!(r#"{{"functionCall":{{"name":"{name}","args":{arguments}}}}}"#)
    }

    fn finish_reason(&self) -> &'static str {
        if self.output.cut_short { "MAX_TOKENS" } else { "STOP" }
    }

    fn visible(&self) -> u32 {
        self.output.tokens - self.tokens.reasoning as u32
    }

    /// The figures when so many tokens can be seen.
    fn usage(&self, candidates: u32) -> String {
        let Tokens { input, reasoning, .. } = self.tokens;
        let total = input + u64::from(candidates) + reasoning;
        let rest = self.rest();
        format!(
            r#"{{"promptTokenCount":{input},"candidatesTokenCount":{candidates},"totalTokenCount":{total}{rest},"promptTokensDetails":[{{"modality":"TEXT","tokenCount":{input}}}]}}"#
        )
    }

    /// The figures that are there only where they are not 0.
    fn rest(&self) -> String {
        let Tokens { cache_read, reasoning, .. } = self.tokens;
        let figure = |name, count| if count == 0 { String::new() } else { format!(r#","{name}":{count}"#) };
        figure("cachedContentTokenCount", cache_read) + &figure("thoughtsTokenCount", reasoning)
    }
}
