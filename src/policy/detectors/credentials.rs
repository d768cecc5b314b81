//! Keys and tokens, by the beginnings their makers gave them so that they can be found.

use super::{Detector, How};

const fn row(
    name: &'static str,
    meaning: &'static str,
    expression: &'static str,
    finds: &'static [&'static str],
    passes: &'static [&'static str],
) -> Detector {
    Detector { name, meaning, how: How::Expression(expression), finds, passes }
}

/// Made up, like every example here.
pub const TABLE: &[Detector] = &[
    row(
        "aws_key",
        "The id of an AWS access key (AKIA…, ASIA…), and a secret key behind its name.",
        r#"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16}\b|\b(?:aws_secret_access_key|AWS_SECRET_ACCESS_KEY|SecretAccessKey)["']?\s{0,4}[=:]\s{0,4}["']?[A-Za-z0-9/+]{40}\b"#,
        &["id «AKIAIOSFODNN7EXAMPLE»,", "«aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY»"],
        &["AKIAIOSFODNN7EXAMPL", "XAKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLEX"],
    ),
    row(
        "gcp_key",
        "A Google API key (AIza…), an OAuth client secret (GOCSPX-…) or access token (ya29.…).",
        r"\bAIza[0-9A-Za-z_-]{35}|\bGOCSPX-[0-9A-Za-z_-]{28}|\bya29\.[0-9A-Za-z_-]{30,}",
        &["key=«AIzaSyA1234567890abcdefghijklmnopqrstuv»", "«GOCSPX-abcdefghijklmnopqrstuvwxyz12»"],
        &["AIzaSyA123", "xAIzaSyA1234567890abcdefghijklmnopqrstuv"],
    ),
    row(
        "azure_key",
        "The client secret of an Entra application (…Q~…) and the key of a storage account (AccountKey=…).",
        r"\b[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{31,34}|AccountKey=[A-Za-z0-9+/]{86}==",
        &[
            "secret «abc8Q~abcdefghijklmnopqrstuvwxyz0123456»",
            "DefaultEndpointsProtocol=https;«AccountKey=0123456789012345678901234567890123456789012345678901234567890123456789012345678901234A==»",
        ],
        &["abc8Q~short", "AccountKey=abc=="],
    ),
    row(
        "github_token",
        "A token of GitHub (ghp_, gho_, ghu_, ghs_, ghr_, github_pat_).",
        r"\bgh[pousr]_[A-Za-z0-9]{36,}\b|\bgithub_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}\b",
        &["«ghp_0123456789abcdefghijABCDEFGHIJ012345»", "token:«ghs_0123456789abcdefghijABCDEFGHIJ012345»;"],
        &["ghp_short", "ghx_0123456789abcdefghijABCDEFGHIJ012345", "aghp_0123456789abcdefghijABCDEFGHIJ012345"],
    ),
    row(
        "gitlab_token",
        "A token of GitLab (glpat-, gldt-, glrt-, glptt-, glcbt-, glagent-, glsoat-).",
        r"\bgl(?:pat|dt|rt|ptt|cbt|ft|imt|agent|soat)-[A-Za-z0-9_-]{20,}",
        &["«glpat-0123456789abcdefABCD»", "export T=«glrt-0123456789abcdefABCD»"],
        &["glpat-short", "xglpat-0123456789abcdefABCD"],
    ),
    row(
        "slack_token",
        "A token of Slack (xoxb-, xoxp-, xapp-…) or the address of an incoming webhook.",
        r"\bxox[abeoprs]-[A-Za-z0-9-]{20,}|\bxapp-[0-9]-[A-Z0-9]{8,}-[0-9]{8,}-[a-f0-9]{32,}|\bhooks\.slack\.com/services/T[A-Z0-9]{8,}/B[A-Z0-9]{8,}/[A-Za-z0-9]{24}",
        &[
            "«xoxb-123456789012-abcdefABCDEF1234»",
            "https://«hooks.slack.com/services/T00000000/B00000000/abcdefghijklmnopqrstuvwx»",
        ],
        &["xoxb-short", "xoxz-123456789012-abcdefABCDEF1234"],
    ),
    row(
        "stripe_key",
        "A secret or restricted key of Stripe (sk_live_, rk_live_, sk_test_, rk_test_) or a webhook secret (whsec_).",
        r"\b[sr]k_(?:live|test)_[A-Za-z0-9]{16,}\b|\bwhsec_[A-Za-z0-9]{32,}\b",
        &["«sk_test_0123456789abcdefABCDEFGH»", "«rk_live_0123456789abcdefABCDEFGH»"],
        &["pk_test_0123456789abcdefABCDEFGH", "sk_test_short", "task_test_0123456789abcdefABCDEFGH"],
    ),
    row(
        "openai_key",
        "A key of OpenAI (sk-proj-, sk-svcacct-, sk-admin-, or sk- and letters), and of those who write theirs alike.",
        r"\bsk-(?:proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}|\bsk-[A-Za-z0-9]{32,}\b",
        &["«sk-proj-abcdefghijklmnopqrstuvwxyz0123»", "Bearer «sk-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKL»"],
        &["sk-proj-short", "sk-learn-is-a-library-for-python", "ask-abcdefghijklmnopqrstuvwxyz0123456789"],
    ),
    row(
        "anthropic_key",
        "A key of Anthropic (sk-ant-…).",
        r"\bsk-ant-[a-z0-9]{3,16}-[A-Za-z0-9_-]{32,}",
        &["«sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789»"],
        &["sk-ant-api03-short", "sk-ant-elope"],
    ),
    row(
        "keeptrusts_key",
        "A key or admin token of Keeptrusts (kt_ak_, kt_gk_, kt_admin_).",
        r"\bkt_(?:ak|gk|admin)_[0-9A-Za-z]{32}\b",
        &["«kt_ak_0123456789abcdefghijABCDEFGHIJ01»", "«kt_gk_0123456789abcdefghijABCDEFGHIJ01»!"],
        &["kt_ak_0123", "kt_xx_0123456789abcdefghijABCDEFGHIJ01", "kt_ak_0123456789abcdefghijABCDEFGHIJ012"],
    ),
    row(
        "google_gemini_key",
        "A key of Google AI Studio in its newer form (AQ.…).",
        r"\bAQ\.[A-Za-z0-9_-]{40,}",
        &["«AQ.Ab0123456789abcdefghijklmnopqrstuvwxyzABCDEF»"],
        &["AQ.short", "FAQ.Ab0123456789abcdefghijklmnopqrstuvwxyzABCDEF"],
    ),
    row(
        "huggingface_token",
        "A token of Hugging Face (hf_…).",
        r"\bhf_[A-Za-z0-9]{34}\b",
        &["«hf_abcdefghijklmnopqrstuvwxyzABCDEFGH»"],
        &["hf_hub_download", "xhf_abcdefghijklmnopqrstuvwxyzABCDEFGH"],
    ),
    row(
        "model_provider_key",
        "A key of Groq (gsk_), OpenRouter (sk-or-v1-), xAI (xai-), Perplexity (pplx-), Replicate (r8_) or Fireworks (fw_).",
        r"\bgsk_[A-Za-z0-9]{52}\b|\bsk-or-v1-[0-9a-f]{64}\b|\bxai-[A-Za-z0-9]{80}\b|\bpplx-[A-Za-z0-9]{48}\b|\br8_[A-Za-z0-9]{37}\b|\bfw_[A-Za-z0-9]{22,24}\b",
        &[
            "«gsk_0123456789abcdefghijABCDEFGHIJ0123456789abcdefghijAB»",
            "«sk-or-v1-0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef»",
        ],
        &["gsk_short", "sk-or-v1-xyz", "pplx-short"],
    ),
    row(
        "package_token",
        "A token that publishes packages: npm (npm_), PyPI (pypi-), Docker Hub (dckr_pat_), RubyGems (rubygems_).",
        r"\bnpm_[A-Za-z0-9]{36}\b|\bpypi-[A-Za-z0-9_-]{64,}|\bdckr_pat_[A-Za-z0-9_-]{27,}|\brubygems_[a-f0-9]{48}\b",
        &["«npm_0123456789abcdefghijABCDEFGHIJ012345»", "«dckr_pat_0123456789abcdefghijABCDEFG»"],
        &["npm_config_registry", "pypi-short"],
    ),
    row(
        "service_token",
        "A token of SendGrid (SG.), Twilio (SK…), DigitalOcean (dop_v1_), Databricks (dapi), Vault (hvs.), Shopify (shpat_), \
         Linear (lin_api_), Atlassian (ATATT3).",
        r"\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}|\bSK(?:[0-9][0-9a-f]{31}|[a-f][0-9a-f]{31})\b|\bdo[opr]_v1_[0-9a-f]{64}\b|\bdapi[0-9a-f]{32}\b|\bhvs\.[A-Za-z0-9_-]{24,}|\bshp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}\b|\blin_api_[A-Za-z0-9]{40}\b|\bATATT3[A-Za-z0-9_=-]{100,}",
        &[
            "«dapi0123456789abcdef0123456789abcdef»",
            "«SK0123456789abcdef0123456789abcdef»",
            "«hvs.0123456789abcdefghijABCDEFGH»",
        ],
        &["dapi0123", "SKIP", "SK0123456789ABCDEF0123456789ABCDEF"],
    ),
    row(
        "private_key",
        "A private key as PEM or OpenPGP armour, from its first line through its last; also where line ends are \
         written as \\n, or the end is missing.",
        r"-----BEGIN (?:[A-Z0-9]{1,16} ){0,4}PRIVATE KEY(?: BLOCK)?-----[A-Za-z0-9+/=\s\\:,]{24,24}(?:[A-Za-z0-9+/=\s\\:,]|-[A-Za-z0-9])*(?:-----END (?:[A-Z0-9]{1,16} ){0,4}PRIVATE KEY(?: BLOCK)?-----)?",
        &[
            "«-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA0123456789abcdef\nabcd==\n-----END RSA PRIVATE KEY-----»\nok",
            "\"«-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQEF\\n-----END PRIVATE KEY-----»\\n\"",
        ],
        &["-----BEGIN PUBLIC KEY-----\nMIIEpAIBAAKCAQEA0123456789abcdef", "`-----BEGIN PRIVATE KEY-----` begins it"],
    ),
    row(
        "jwt",
        "A JSON web token: three parts in base64, the first two of them JSON objects.",
        r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
        &["Bearer «eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abcdefghijklmnopqrstuvwxyz»"],
        &["eyJhbGciOiJIUzI1NiJ9", "eyJhbGciOiJIUzI1NiJ9.x.y"],
    ),
];
