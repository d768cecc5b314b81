//! Where events are sent: `audit.webhook`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{SigningKey, Webhook, WebhookUrl};

use super::credential::{Reference, reference_at};
use super::environment::Environment;
use super::findings::{Place, Placed, Report};
use super::quantity::duration;
use super::reader::Section;
use super::resolve::is_local;

/// How long a delivery is tried, where nothing else is written.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
const EXPECTED: &str =
    "expected where the secret is, not the secret itself: {env: NAME}, {file: PATH} or {credential: NAME} (systemd)";
const HINT: &str = "missing; write where the secret is: {env: NAME}, {file: PATH} or {credential: NAME}";

/// A webhook as it is written.
#[derive(Debug)]
pub(super) struct WrittenWebhook {
    place: Place,
    url: Option<Placed<WebhookUrl>>,
    secret: Option<Placed<Reference>>,
    has_secret: bool,
    give_up_after: Duration,
}

pub(super) fn webhook(audit: &Section<'_>, directory: &Path) -> Option<WrittenWebhook> {
    audit.section("webhook", |section| {
        let url = match section.is_present() {
            true => {
                section.required("url", "where events are posted to: https://siem.example/events", WebhookUrl::parse)
            }
            false => section.optional("url", WebhookUrl::parse),
        };
        let secret = reference_at(section, "secret", EXPECTED, directory);
        let spans = Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 60 * 60);
        let give_up_after = section.optional("give_up_after", duration(spans));
        section.is_present().then(|| WrittenWebhook {
            place: section.place().clone(),
            url,
            secret,
            has_secret: section.has("secret"),
            give_up_after: give_up_after.map_or(GIVE_UP_AFTER, |span| span.value),
        })
    })
}

/// What holds, and where its secret came from as far as that may be shown.
pub(super) fn resolve_webhook(
    written: Option<WrittenWebhook>,
    environment: &dyn Environment,
    report: &Report,
) -> Option<(Arc<Webhook>, Reference)> {
    let WrittenWebhook { place, url, secret, has_secret, give_up_after } = written?;
    if !has_secret {
        report.fault(&place.at(format!("{}.secret", place.setting)), HINT);
    }
    if let Some(Placed { value: url, place }) = &url
        && !url.tls
        && !is_local(&url.host)
    {
        report.warn(place, "http to another machine: who used what can be read on the way; use https");
    }
    let Placed { value: reference, place } = secret?;
    let found = reference.resolve(environment).and_then(|(secret, warning)| {
        if let Some(warning) = warning {
            report.warn(&place, warning);
        }
        Ok(SigningKey::parse(secret.expose())?)
    });
    let key = found.map_err(|fault| report.fault(&place, fault)).ok()?;
    Some((Arc::new(Webhook { url: url?.value, key, give_up_after }), reference))
}
