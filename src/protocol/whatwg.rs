//! An independent reader of event streams, for tests.

/// A message as a parser written from the WHATWG text alone dispatches it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) data: String,
}

pub(crate) fn parsed(stream: &[u8]) -> Vec<Message> {
    let text = String::from_utf8_lossy(stream).replace("\r\n", "\n").replace('\r', "\n");
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let (mut messages, mut name, mut data) = (Vec::new(), String::new(), String::new());
    // What follows the last line end is an incomplete line, and never processed.
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in complete.split('\n').take(if text.contains('\n') { usize::MAX } else { 0 }) {
        if line.is_empty() {
            if !data.is_empty() {
                let event = if name.is_empty() { "message" } else { &name };
                messages.push(Message { name: event.into(), data: data[..data.len() - 1].into() });
            }
            name.clear();
            data.clear();
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => name = value.into(),
            "data" => data += &format!("{value}\n"),
            _ => {}
        }
    }
    messages
}
