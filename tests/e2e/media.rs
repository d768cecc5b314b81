//! OpenAI's other endpoints: older completions, moderations, pictures, speech, and forms with files in them.

use serde_json::{Value, json};

use crate::harness::{Ask, World};

fn form(model: &str) -> String {
    let part = |head: &str, value: &str| format!("--kt\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n");
    let sound = "RIFF".repeat(1000);
    part("name=\"file\"; filename=\"a.wav\"", &sound) + &part("name=\"model\"", model) + "--kt--\r\n"
}

fn transcription(world: &World, key: &str, model: &str) -> Ask {
    let ask = world.ask("POST", "/v1/audio/transcriptions").key(key);
    ask.form("kt", form(model))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reports_its_use_is_metered_and_the_rest_has_no_cost() {
    let mut world = World::start().await;
    let key = world.key("jane");
    let cases = [
        ("/v1/completions", json!({"model": "gpt-4o-mini", "prompt": "Say something."}), "provider"),
        ("/v1/completions", json!({"model": "gpt-4o-mini", "prompt": "Say something.", "stream": true}), "provider"),
        ("/v1/moderations", json!({"input": "Some text."}), "none"),
        ("/v1/images/generations", json!({"model": "gpt-image-1", "prompt": "A crab."}), "provider"),
        ("/v1/images/generations", json!({"prompt": "A crab."}), "none"),
        ("/v1/audio/speech", json!({"model": "tts-1", "voice": "alloy", "input": "Hello."}), "none"),
    ];
    for (at, (path, body, source)) in cases.iter().enumerate() {
        let answer = world.ask("POST", path).key(&key).json(body).send().await;
        assert_eq!((answer.status, answer.whole), (200, true), "{path}");
        assert!(!String::from_utf8_lossy(&answer.body()).contains("\"usage\"") || body["stream"] != true);
        let output = world.events_after(2 * at + 2).await.pop().unwrap();
        assert_eq!((&output["usage"]["source"], &output["ended"]), (&json!(source), &json!("complete")), "{output}");
        let (seen, usage) = (world.mock.requests().pop().unwrap(), &output["usage"]);
        let reported = seen.reported.unwrap_or_default();
        assert_eq!((usage["input"].as_u64(), usage["output"].as_u64()), (Some(reported.input), Some(reported.output)));
        if let Some(default) = [(2, "omni-moderation-latest"), (4, "dall-e-2")].iter().find(|(case, _)| *case == at) {
            let sent: Value = serde_json::from_slice(&seen.body).unwrap();
            assert_eq!((&sent["model"], &output["model_requested"]), (&json!(default.1), &json!(default.1)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_inside_a_form_is_judged_replaced_and_metered() {
    let mut world = World::with(|setup| {
        setup.more = "access: {models: [fast, whisper-1]}".into();
    })
    .await;
    let key = world.key("jane");
    assert_eq!(transcription(&world, &key, "fast").send().await.status, 200);
    let seen = world.mock.requests().pop().unwrap();
    assert_eq!(seen.body, form("gpt-4o-mini"), "nothing but the model has changed");
    let output = world.events_after(2).await.pop().unwrap();
    let usage = &output["usage"];
    assert_eq!((&output["endpoint"], &output["model_requested"]), (&json!("audio/transcriptions"), &json!("fast")));
    assert_eq!(
        (usage["input"].as_u64(), usage["input_audio"].as_u64()),
        (Some(seen.body.len() as u64 / 64), usage["input"].as_u64())
    );

    let refused = transcription(&world, &key, "gpt-4o").send().await;
    assert_eq!((refused.status, refused.code()), (403, "model_not_allowed".into()));
    let doubled = form("fast")
        .replace("--kt--", "--kt\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\ngpt-4o\r\n--kt--");
    let refused = world.ask("POST", "/v1/audio/transcriptions").key(&key).form("kt", doubled).send().await;
    assert_eq!((refused.status, refused.code()), (400, "request_ambiguous".into()));
    let torn = form("fast").replace("--kt--", "");
    let refused = world.ask("POST", "/v1/audio/transcriptions").key(&key).form("kt", torn).send().await;
    assert_eq!((refused.status, refused.code()), (400, "request_malformed".into()));

    // By the second, as whisper is billed: nothing is known of its cost.
    assert_eq!(transcription(&world, &key, "whisper-1").send().await.status, 200);
    let output = world.events_after(7).await.pop().unwrap();
    assert_eq!((&output["usage"]["source"], &output["cost_nano_usd"]), (&json!("none"), &Value::Null));
}
