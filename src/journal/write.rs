//! The one place where events are made: a record's facts, written as JSON straight into the buffer they are stored
//! from. It runs for every event of every request, so nothing is allocated for one.

use std::io::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use uuid::Uuid;

use crate::domain::{ServiceTier, Timestamp};
use crate::policy::Hit;

use super::event::{EventUsage, Phase, SCHEMA};
use super::record::{Closing, Opening, Record, Threshold};

/// Digits of a number in hexadecimal.
const HEX: &[u8; 16] = b"0123456789abcdef";
/// `2026-01-15T10:30:12`, the part of a time that stays the same for a second.
const SECOND_CHARS: usize = 19;

/// Writes events one after the other; keeps what two of them share.
#[derive(Debug)]
pub struct EventWriter {
    gateway: Box<str>,
    /// The text of the two seconds that were written last: of a record's time and of its beginning.
    seconds: [(i64, [u8; SECOND_CHARS]); 2],
}

impl EventWriter {
    /// For the events of the gateway called `gateway`.
    pub fn new(gateway: &str) -> Self {
        Self { gateway: gateway.into(), seconds: [(i64::MIN, [0; SECOND_CHARS]); 2] }
    }

    /// Appends the event a record stands for: one JSON object, without line breaks. `id` and `seq` are its own.
    pub fn write(&mut self, record: &Record, id: Uuid, seq: i64, out: &mut Vec<u8>) {
        let (opening, closing) = match record {
            Record::Opened(opening) => (&**opening, None),
            Record::Closed(closing) => (&*closing.opening, Some(&**closing)),
        };
        // Destructured without `..`: a new fact has to be placed here before this compiles.
        let Opening {
            request_id,
            started_at,
            time,
            verdict,
            refusal,
            key,
            team,
            organization,
            credential,
            fingerprint,
            provider,
            endpoint,
            dialect,
            model_requested,
            price: _,
            client,
            address,
            stream,
            request_bytes,
            policies,
            overhead: _,
            number,
            reserved: _,
        } = opening;
        let phase = if closing.is_some() { Phase::Output } else { Phase::Input };
        let (time, verdict, reason) = match closing {
            Some(closing) => (closing.time, closing.verdict, closing.reason),
            None => (*time, *verdict, refusal.map(|refused| refused.code)),
        };
        // The log finds `seq` and `time` by their places; see `control/store/segments/line.rs`.
        let mut json = Object { out, writer: self };
        json.out.extend_from_slice(b"{\"schema\":\"");
        json.out.extend_from_slice(SCHEMA.as_bytes());
        json.out.extend_from_slice(b"\",\"seq\":");
        json.number(seq);
        json.name("time").time(0, time);
        json.name("id").uuid(id);
        json.name("request_id").text(request_id);
        json.name("phase").word(phase.label());
        json.name("verdict").word(verdict.label());
        json.name("reason").maybe_text(reason);
        json.out.extend_from_slice(b",\"key\":{\"id\":");
        json.text(&key.id);
        json.name("name").text(&key.name);
        json.out.push(b'}');
        json.name("team").maybe_text(team.as_deref());
        json.name("organization").text(organization);
        json.name("credential").word(credential.label());
        json.name("fingerprint").maybe_text(fingerprint.as_deref());
        json.name("gateway").gateway();
        json.name("provider").maybe_text(provider.as_deref());
        json.name("endpoint").text(endpoint);
        json.name("dialect").text(dialect);
        json.name("model_requested").maybe_text(model_requested.as_deref());
        json.name("model_served").maybe_text(closing.and_then(|closing| closing.model_served.as_deref()));
        json.name("client").text(client);
        json.name("address").address(address.as_ref());
        json.name("stream").word_of(*stream);
        let status = closing.map(|closing| closing.status).or(refusal.map(|refused| refused.status));
        json.name("status").maybe_number(status);
        json.name("started_at").time(1, *started_at);
        json.name("first_token_ms").maybe_number(closing.and_then(|closing| closing.first_token).map(millis));
        json.name("duration_ms").maybe_number(closing.map(|closing| millis(closing.duration)));
        json.name("request_bytes").number(*request_bytes);
        json.outcome(closing);
        json.name("policies").hits(closing.map_or(policies, |closing| &closing.policies));
        if let Some(closing) = closing.filter(|closing| !closing.thresholds.is_empty()) {
            json.name("thresholds").thresholds(&closing.thresholds);
        }
        json.name("input_seq").maybe_number(closing.and(number.get()));
        json.out.push(b'}');
    }

    /// `"2026-01-15T10:30:12.250Z"`. Most times are of a second that was written before, so its text is kept: one for
    /// each `place`.
    fn time(&mut self, place: usize, time: Timestamp, out: &mut Vec<u8>) {
        let micros = time.as_micros();
        let (second, millis) = (micros.div_euclid(1_000_000), micros.rem_euclid(1_000_000) / 1000);
        let (known, text) = &mut self.seconds[place];
        if *known != second {
            let written = Timestamp::from_micros(second * 1_000_000).to_string();
            match written.as_bytes().first_chunk() {
                // Years of more than four digits are written without a memory.
                Some(first) if written.len() == SECOND_CHARS + ".000Z".len() => (*known, *text) = (second, *first),
                _ => {
                    let _ = write!(out, "\"{time}\"");
                    return;
                }
            }
        }
        out.push(b'"');
        out.extend_from_slice(text);
        let digit = |value: i64| b'0' + (value % 10) as u8;
        out.extend_from_slice(&[b'.', digit(millis / 100), digit(millis / 10), digit(millis), b'Z', b'"']);
    }
}

/// Writes members of an object that is open.
struct Object<'a> {
    out: &'a mut Vec<u8>,
    writer: &'a mut EventWriter,
}

impl Object<'_> {
    /// Begins a member. Names are ours and need no escaping.
    fn name(&mut self, name: &'static str) -> &mut Self {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self
    }

    /// A word that needs no escaping.
    fn word(&mut self, word: &'static str) {
        self.out.push(b'"');
        self.out.extend_from_slice(word.as_bytes());
        self.out.push(b'"');
    }

    fn word_of(&mut self, value: bool) {
        self.out.extend_from_slice(if value { b"true" } else { b"false" });
    }

    fn null(&mut self) {
        self.out.extend_from_slice(b"null");
    }

    fn text(&mut self, text: &str) {
        write_text(self.out, text);
    }

    fn gateway(&mut self) {
        write_text(self.out, &self.writer.gateway);
    }

    fn maybe_text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.null(),
        }
    }

    fn number(&mut self, number: impl itoa::Integer) {
        self.out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    fn maybe_number(&mut self, number: Option<impl itoa::Integer>) {
        match number {
            Some(number) => self.number(number),
            None => self.null(),
        }
    }

    fn time(&mut self, place: usize, time: Timestamp) {
        self.writer.time(place, time, self.out);
    }

    fn uuid(&mut self, id: Uuid) {
        self.out.push(b'"');
        self.out.extend_from_slice(id.hyphenated().encode_lower(&mut Uuid::encode_buffer()).as_bytes());
        self.out.push(b'"');
    }

    fn address(&mut self, address: Option<&IpAddr>) {
        match address {
            // Most are of this kind, and formatting takes as long as a tenth of the event.
            Some(IpAddr::V4(address)) => {
                for (place, octet) in address.octets().into_iter().enumerate() {
                    self.out.push(if place == 0 { b'"' } else { b'.' });
                    self.number(octet);
                }
                self.out.push(b'"');
            }
            // Writing to a vector cannot fail.
            Some(address) => _ = write!(self.out, "\"{address}\""),
            None => self.null(),
        }
    }

    fn usage(&mut self, usage: &EventUsage) {
        let EventUsage {
            input,
            cache_read,
            cache_write,
            cache_write_long,
            output,
            reasoning,
            input_audio,
            input_image,
            output_audio,
            output_image,
            web_searches,
            tier,
            source,
            complete,
        } = *usage;
        self.out.extend_from_slice(b"{\"input\":");
        self.number(input);
        self.name("cache_read").number(cache_read);
        self.name("cache_write").number(cache_write);
        self.name("cache_write_long").number(cache_write_long);
        self.name("output").number(output);
        self.name("reasoning").number(reasoning);
        for (name, number) in [
            ("input_audio", input_audio),
            ("input_image", input_image),
            ("output_audio", output_audio),
            ("output_image", output_image),
            ("web_searches", web_searches),
        ] {
            if number != 0 {
                self.name(name).number(number);
            }
        }
        if tier != ServiceTier::Standard {
            self.name("tier").word(tier.label());
        }
        self.name("source").word(source.label());
        self.name("complete").word_of(complete);
        self.out.push(b'}');
    }

    fn hits(&mut self, hits: &[Hit]) {
        self.out.push(b'[');
        for (number, Hit { policy, action, matches }) in hits.iter().enumerate() {
            self.out.extend_from_slice(if number == 0 { &b"{\"name\":"[..] } else { b",{\"name\":" });
            self.text(policy);
            self.name("action").word(action.label());
            self.name("matches").number(*matches);
            self.out.push(b'}');
        }
        self.out.push(b']');
    }

    fn thresholds(&mut self, thresholds: &[Threshold]) {
        self.out.push(b'[');
        for (number, Threshold { scope, name, budget, model, percent }) in thresholds.iter().enumerate() {
            self.out.extend_from_slice(if number == 0 { &b"{\"scope\":"[..] } else { b",{\"scope\":" });
            self.word(scope);
            self.name("name").text(name);
            self.name("budget").text(budget);
            self.name("model").maybe_text(model.as_deref());
            self.name("percent").number(*percent);
            self.out.push(b'}');
        }
        self.out.push(b']');
    }

    /// What an INPUT event does not know yet.
    fn outcome(&mut self, closing: Option<&Closing>) {
        let Some(closing) = closing else {
            self.out.extend_from_slice(
                b",\"response_bytes\":null,\"usage\":null,\"cost_nano_usd\":null,\"price_version\":null,\"ended\":null",
            );
            return;
        };
        self.name("response_bytes").number(closing.response_bytes);
        self.name("usage").usage(&EventUsage::from(&closing.usage));
        // Rarely there; their names are written like any text, and writing to a vector cannot fail.
        if !closing.advisors.is_empty() {
            let _ = serde_json::to_writer(&mut *self.name("advisors").out, &closing.advisors);
        }
        self.name("cost_nano_usd").maybe_number(closing.cost.as_ref().map(|cost| cost.amount.0));
        self.name("price_version").maybe_text(closing.cost.as_ref().map(|cost| &*cost.price_version));
        self.name("ended").word(closing.ended.label());
    }
}

/// A JSON string, escaped as `serde_json` escapes it: searches look for the same bytes.
fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest.iter().position(|&byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        out.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        let short = match byte {
            b'"' | b'\\' => byte,
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            _ => b'u',
        };
        out.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            out.extend_from_slice(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use crate::domain::{Cost, Ended, NanoUsd, Tokens, Usage, UsageSource, Verdict};
    use crate::journal::{Credential, Event, EventNumber, KeyIdentity, KeySeries, Refused, Reserved};

    use super::*;

    pub(in crate::journal) fn opening() -> Opening {
        Opening {
            request_id: "r-1".into(),
            started_at: Timestamp::from_micros(1_705_314_612_000_000),
            time: Timestamp::from_micros(1_705_314_612_000_400),
            verdict: Verdict::Pass,
            refusal: None,
            key: KeyIdentity {
                id: "ak_1".into(),
                name: "jane-vscode".into(),
                series: Arc::new(KeySeries::detached("jane-vscode", "frontend")),
            },
            team: Some("frontend".into()),
            organization: "acme".into(),
            credential: Credential::AccessKey,
            fingerprint: None,
            provider: Some("openai".into()),
            endpoint: "chat/completions",
            dialect: "openai",
            model_requested: Some("gpt-4o-mini".into()),
            price: None,
            client: "openai-python",
            address: None,
            stream: true,
            request_bytes: 3_000,
            policies: Vec::new(),
            overhead: None,
            number: EventNumber::default(),
            reserved: Reserved::default(),
        }
    }

    pub(in crate::journal) fn closing(opening: Opening) -> Closing {
        Closing {
            opening: Arc::new(opening),
            time: Timestamp::from_micros(1_705_314_614_000_000),
            verdict: Verdict::Pass,
            reason: None,
            model_served: Some("gpt-4o-mini evil\nline".into()),
            status: 200,
            first_token: Some(Duration::from_millis(200)),
            duration: Duration::from_millis(1893),
            response_bytes: 900,
            usage: Usage {
                tokens: Tokens { input: 812, output: 164, ..Tokens::default() },
                source: UsageSource::Provider,
                complete: true,
                ..Usage::default()
            },
            advisors: Vec::new(),
            cost: Some(Cost { amount: NanoUsd(220_200), price_version: "v1".into() }),
            ended: Ended::Complete,
            policies: Vec::new(),
            thresholds: Vec::new(),
        }
    }

    /// The event as it is read back. What was written is exactly what its reader would write.
    fn event(record: &Record) -> Event {
        let mut json = Vec::new();
        EventWriter::new("edge-\"1\"").write(record, Uuid::from_u128(7), 12, &mut json);
        let json = String::from_utf8(json).unwrap();
        let event: Event = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&event).unwrap(), json);
        event
    }

    #[test]
    fn an_input_line_names_key_team_and_verdict() {
        let event_of = |opening| event(&Record::Opened(Arc::new(opening)));
        assert_eq!(event_of(opening()).line(), "INPUT openai chat/completions key:jane-vscode team:frontend PASS");
        let refusal = Some(Refused { code: "model_not_allowed", status: 403 });
        let denied = Opening { verdict: Verdict::Deny, refusal, team: None, ..opening() };
        let event = event_of(denied);
        assert_eq!(event.line(), "INPUT openai chat/completions key:jane-vscode DENY model_not_allowed");
        assert_eq!((event.status, event.seq, &*event.gateway), (Some(403), 12, "edge-\"1\""));
    }

    #[test]
    fn an_output_line_adds_model_tokens_cost_and_time() {
        let opening = Opening { address: Some([127, 0, 0, 1].into()), ..opening() };
        opening.number.set(9);
        let event = event(&Record::Closed(Box::new(closing(opening))));
        assert_eq!(
            event.line(),
            "OUTPUT openai chat/completions key:jane-vscode team:frontend PASS model:gpt-4o-mini?evil?line \
             in:812 out:164 cost:$0.000220 1893ms"
        );
        assert_eq!((event.input_seq, event.address.as_deref()), (Some(9), Some("127.0.0.1")));
        assert_eq!(event.time.to_string(), "2024-01-15T10:30:14.000Z");
    }

    #[test]
    fn shares_of_budgets_are_told_by_who_spent_the_last_part() {
        let of = |scope, name: &str, budget: &str, model: Option<&str>, percent| Threshold {
            scope,
            name: name.into(),
            budget: budget.into(),
            model: model.map(Into::into),
            percent,
        };
        let thresholds =
            vec![of("key", "jane", "9usd/day:soft", None, 50), of("team", "ops", "5usd/week", Some("gpt-\"*"), 100)];
        let event = event(&Record::Closed(Box::new(Closing { thresholds, ..closing(opening()) })));
        assert_eq!((event.thresholds.len(), event.thresholds[1].model.as_deref()), (2, Some("gpt-\"*")));
        let line = event.line();
        assert!(
            line.contains(" PASS budget:50%:key:jane:9usd/day:soft budget:100%:team:ops:5usd/week model:"),
            "{line}"
        );
    }

    proptest! {
        #[test]
        fn any_usage_and_address_are_written_as_they_are_read(
            numbers in prop::collection::vec(prop_oneof![Just(0), any::<u64>()], 11),
            tier in prop::sample::select(vec![ServiceTier::Standard, ServiceTier::Flex, ServiceTier::Batch, ServiceTier::Fast]),
            source in prop::sample::select(UsageSource::ALL.to_vec()),
            complete in any::<bool>(),
            address in any::<IpAddr>(),
        ) {
            let number = |place: usize| numbers[place];
            let usage = EventUsage {
                input: number(0),
                cache_read: number(1),
                cache_write: number(2),
                cache_write_long: number(3),
                output: number(4),
                reasoning: number(5),
                input_audio: number(6),
                input_image: number(7),
                output_audio: number(8),
                output_image: number(9),
                web_searches: number(10),
                tier,
                source,
                complete,
            };
            let (mut json, mut writer) = (Vec::new(), EventWriter::new("edge-1"));
            let mut object = Object { out: &mut json, writer: &mut writer };
            object.usage(&usage);
            object.address(Some(&address));
            let expected = serde_json::to_string(&usage).unwrap() + &serde_json::to_string(&address).unwrap();
            prop_assert_eq!(String::from_utf8(json).unwrap(), expected);
        }

        #[test]
        fn any_text_and_any_time_are_written_as_serde_json_writes_them(
            text in any::<String>(),
            times in prop::collection::vec(-70_000_000_000_000_000i64..250_000_000_000_000_000, 1..4),
        ) {
            let mut writer = EventWriter::new("edge-1");
            for time in times.into_iter().map(Timestamp::from_micros) {
                let mut json = Vec::new();
                write_text(&mut json, &text);
                writer.time(0, time, &mut json);
                let expected = serde_json::to_string(&text).unwrap() + &serde_json::to_string(&time).unwrap();
                prop_assert_eq!(String::from_utf8(json).unwrap(), expected);
            }
        }
    }
}
