//! What Gemini's dialect looks like, and what its usage says.

use super::*;

const X_GOOG_API_KEY: &str = "x-goog-api-key: AIza-mock\r\n";
const CONTENTS: &str =
    r#"{"contents":[{"role":"user","parts":[{"text":"12345678"}]}],"generationConfig":{"maxOutputTokens":9}}"#;

fn verb(model: &str, verb: &str, body: &str) -> String {
    post(&format!("/v1beta/models/{model}:{verb}"), X_GOOG_API_KEY, body)
}

fn text(chunks: &[Value]) -> String {
    chunks.iter().filter_map(|chunk| chunk["candidates"][0]["content"]["parts"][0]["text"].as_str()).collect()
}

#[tokio::test]
async fn plain_streamed_and_as_an_array_it_is_the_same_answer() {
    let mock = mock().await;
    let plain = ask(&mock, &verb("gemini-reason", "generateContent", CONTENTS)).await.json();
    let streamed = ask(&mock, &verb("gemini-reason", "streamGenerateContent?alt=sse", CONTENTS)).await;
    let streamed: Vec<Value> = streamed.events().into_iter().map(|(_, data)| data).collect();
    let array = ask(&mock, &verb("gemini-reason", "streamGenerateContent", CONTENTS)).await;
    assert!(array.head.contains("content-type: application/json"), "{}", array.head);
    let array = array.json();
    let array = array.as_array().unwrap();
    assert_eq!([text(&streamed), text(array)], [mock.text(7), mock.text(7)]);
    for whole in [&plain, streamed.last().unwrap(), array.last().unwrap()] {
        assert_eq!(whole["candidates"][0]["finishReason"], "MAX_TOKENS");
        let usage = &whole["usageMetadata"];
        let figures = ["promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "totalTokenCount"];
        assert_eq!(figures.map(|figure| usage[figure].as_u64()), [Some(2), Some(7), Some(2), Some(11)]);
    }
    assert_eq!(streamed[3]["usageMetadata"]["candidatesTokenCount"], 3, "the figures of a chunk are cumulative");
}

#[tokio::test]
async fn functions_are_called_whole() {
    let mock = mock().await;
    let body =
        CONTENTS.replace('9', "99").replacen('{', r#"{"tools":[{"functionDeclarations":[{"name":"find"}]}],"#, 1);
    for way in ["generateContent", "streamGenerateContent"] {
        let answer = ask(&mock, &verb("gemini-tools", way, &body)).await.json();
        let chunk = if answer.is_array() { &answer[0] } else { &answer };
        let call = &chunk["candidates"][0]["content"]["parts"][0]["functionCall"];
        assert!(call["name"] == "find" && call["args"]["text"].is_string(), "{answer}");
    }
}

#[tokio::test]
async fn errors_and_embeddings_have_gemini_s_shape() {
    let mock = mock().await;
    let error = |reply: Reply| (reply.status, reply.json()["error"]["status"].clone());
    let stranger = ask(&mock, &post("/v1beta/models/m:generateContent", "", CONTENTS)).await;
    assert_eq!(error(stranger), (403, "PERMISSION_DENIED".into()));
    let unknown = ask(&mock, &verb("unknown-1", "generateContent", CONTENTS)).await;
    assert_eq!(error(unknown), (404, "NOT_FOUND".into()));
    let leaked = post("/v1beta/models/m:countTokens", "x-goog-api-key: kt_ak_x\r\n", CONTENTS);
    assert_eq!(error(ask(&mock, &leaked).await), (400, "INVALID_ARGUMENT".into()));
    let many = r#"{"requests":[{"content":{"parts":[{"text":"1234"}]}},{"content":{"parts":[{"text":"5678"}]}}]}"#;
    let many = ask(&mock, &verb("m", "batchEmbedContents", many)).await.json();
    assert_eq!(
        (many["embeddings"].as_array().unwrap().len(), &many["usageMetadata"]["promptTokenCount"]),
        (2, &2.into())
    );
    let counted = ask(&mock, &verb("m", "countTokens", CONTENTS)).await.json();
    assert_eq!(counted["totalTokens"], 2);
}
