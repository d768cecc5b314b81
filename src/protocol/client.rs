//! User-agent → one of a few names, so that a stranger's header cannot grow a metric.

/// The name of a request without a user-agent.
pub const NONE: &str = "none";
/// The name of every client that is not known by its own.
pub const OTHER: &str = "other";

/// What user-agents begin with, ignoring case, and whose they are. The first match decides. Tools that
/// speak through an SDK without naming themselves (aider, llm, langchain) count as that SDK.
const KNOWN: [(&str, &str); 33] = [
    ("claude-cli/", "claude-code"),
    ("claude-code/", "claude-code"),
    ("codex", "codex"),
    ("opencode/", "opencode"),
    ("geminicli", "gemini-cli"),
    ("google-genai-sdk/", "google-genai"),
    ("openai/python", "openai-python"),
    ("asyncopenai/python", "openai-python"),
    ("azureopenai/python", "openai-python"),
    ("asyncazureopenai/python", "openai-python"),
    ("openai/js", "openai-node"),
    ("azureopenai/js", "openai-node"),
    ("anthropic/python", "anthropic-python"),
    ("asyncanthropic/python", "anthropic-python"),
    ("anthropic/js", "anthropic-node"),
    ("githubcopilotchat/", "copilot"),
    ("copilot", "copilot"),
    ("continue", "continue"),
    // Continue's own fork of the OpenAI library.
    ("ls/js", "continue"),
    ("cline", "cline"),
    // What the Cline command line sends instead of a name of its own.
    ("ai-sdk/openai-compatible/", "cline"),
    ("kilo-code/", "kilo"),
    ("kilo/", "kilo"),
    ("qwencode/", "qwen-code"),
    ("aider", "aider"),
    ("litellm/", "litellm"),
    ("cursor", "cursor"),
    ("zed/", "zed"),
    ("llm/", "llm"),
    ("curl/", "curl"),
    ("k6/", "k6"),
    ("grafana k6", "k6"),
    ("roocode/", "roo-code"),
];

/// The client that sends this user-agent.
pub fn name(user_agent: Option<&str>) -> &'static str {
    let Some(user_agent) = user_agent.map(str::trim_start).filter(|text| !text.is_empty()) else {
        return NONE;
    };
    let begins = |prefix: &str| {
        let start = user_agent.as_bytes().get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    };
    KNOWN.iter().find(|(prefix, _)| begins(prefix)).map_or(OTHER, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_known_by_what_they_really_send() {
        for (user_agent, expected) in [
            ("claude-cli/2.1.330 (external, sdk-cli)", "claude-code"),
            ("codex_exec/0.169.0 (Debian 12.0.0; x86_64) xterm-256color (codex_exec; 0.169.0)", "codex"),
            ("opencode/1.18.33 ai-sdk/provider-utils/4.0.1 runtime/bun/1.3.14", "opencode"),
            ("GeminiCLI-tui/0.61.0/gemini-3.8-flash (linux; x64; terminal)", "gemini-cli"),
            ("google-genai-sdk/3.4.0 gl-python/3.11.7", "google-genai"),
            ("OpenAI/Python 3.54.0", "openai-python"),
            ("AsyncOpenAI/Python 3.54.0", "openai-python"),
            ("Anthropic/JS 1.12.0", "anthropic-node"),
            ("ls/JS 5.23.2", "continue"),
            ("ai-sdk/openai-compatible/3.0.37 runtime/bun/1.3.13", "cline"),
            ("Kilo-Code/7.7.9 ai-sdk/5", "kilo"),
            ("QwenCode/0.15.10 (linux; x64)", "qwen-code"),
            ("litellm/1.81.10", "litellm"),
            ("Grafana k6/1.1.0", "k6"),
        ] {
            assert_eq!(name(Some(user_agent)), expected, "{user_agent}");
        }
    }

    #[test]
    fn strangers_share_one_name() {
        assert_eq!(name(Some("Mozilla/5.0 claude-cli/2")), OTHER);
        assert_eq!(name(Some("é")), OTHER);
        assert_eq!(name(Some("  ")), NONE);
        assert_eq!(name(None), NONE);
    }

    #[test]
    fn every_prefix_can_match() {
        assert!(KNOWN.iter().all(|(prefix, name)| super::name(Some(&prefix.to_uppercase())) == *name));
    }
}
