//! Closed sets of kinds: of resources, routers, providers and strategies.

/// A word that is not in its closed set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{value}` is not one of: {expected}")]
pub struct UnknownWord {
    /// What was given, cut to 64 characters.
    pub value: String,
    /// All words of the set, separated by commas.
    pub expected: String,
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every member, in order of definition.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The word in files, API and metrics.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }

            /// Every word, separated by commas, for messages.
            #[must_use]
            pub fn expected() -> String {
                Self::ALL.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(", ")
            }
        }

        impl ::std::str::FromStr for $name {
            type Err = $crate::catalog::kinds::UnknownWord;
            fn from_str(text: &str) -> Result<Self, $crate::catalog::kinds::UnknownWord> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text).ok_or_else(|| $crate::catalog::kinds::UnknownWord {
                    value: text.chars().take(64).collect(),
                    expected: Self::expected(),
                })
            }
        }

        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What a catalog resource is.
    Kind {
        /// A tenant.
        Organization = "organization",
        /// Part of a tenant.
        Project = "project",
        /// What a user may do.
        Role = "role",
        /// A person or a service.
        User = "user",
        /// A client's credential.
        Key = "key",
        /// A public model name.
        Router = "router",
        /// An upstream of a router.
        Provider = "provider",
        /// A rate limit.
        Limit = "limit",
        /// An amount of money.
        Budget = "budget",
        /// A secret value, sent only to nodes that serve it.
        Secret = "secret",
        /// A setting of the fleet.
        Setting = "setting",
        /// A check of content.
        Guardrail = "guardrail",
    }
}

impl Kind {
    /// Whether a bad update of it closes it (true) or leaves its last good version in place (false).
    #[must_use]
    pub const fn closes_on_reject(self) -> bool {
        !matches!(self, Self::Router | Self::Provider | Self::Setting | Self::Secret)
    }
}

words! {
    /// What a router serves; OpenGateLLM's model types.
    RouterKind {
        /// Chat and text completions.
        TextGeneration = "text-generation",
        /// Chat whose prompt may hold images.
        ImageTextToText = "image-text-to-text",
        /// Embeddings.
        TextEmbeddingsInference = "text-embeddings-inference",
        /// Rerank and classification.
        TextClassification = "text-classification",
        /// Speech to text.
        AutomaticSpeechRecognition = "automatic-speech-recognition",
        /// Optical character recognition.
        ImageToText = "image-to-text",
    }
}

words! {
    /// The dialect that an upstream speaks.
    ProviderKind {
        /// Any server that speaks OpenAI's API.
        OpenAi = "openai",
        /// vLLM's OpenAI-compatible server.
        Vllm = "vllm",
        /// Mistral's API.
        Mistral = "mistral",
        /// Albert, or any other OpenGateLLM.
        Albert = "albert",
        /// Hugging Face's text-embeddings-inference.
        Tei = "tei",
        /// Answers by itself, without a network; for trials and demonstrations.
        Mock = "mock",
    }
}

impl ProviderKind {
    /// The address when none is configured.
    #[must_use]
    pub const fn default_url(self) -> Option<&'static str> {
        match self {
            Self::OpenAi => Some("https://api.openai.com"),
            Self::Mistral => Some("https://api.mistral.ai"),
            Self::Albert => Some("https://albert.api.etalab.gouv.fr"),
            Self::Mock => Some("mock://local"),
            Self::Vllm | Self::Tei => None,
        }
    }

    /// Whether a provider of this kind can stand behind a router of that kind.
    #[must_use]
    pub const fn serves(self, router: RouterKind) -> bool {
        use RouterKind as R;
        match self {
            Self::OpenAi | Self::Mistral => matches!(
                router,
                R::TextGeneration | R::ImageTextToText | R::TextEmbeddingsInference | R::AutomaticSpeechRecognition
            ),
            Self::Vllm | Self::Albert => matches!(
                router,
                R::TextGeneration
                    | R::ImageTextToText
                    | R::TextEmbeddingsInference
                    | R::TextClassification
                    | R::AutomaticSpeechRecognition
            ),
            Self::Tei => matches!(router, R::TextEmbeddingsInference | R::TextClassification),
            Self::Mock => matches!(router, R::TextGeneration | R::TextEmbeddingsInference | R::TextClassification),
        }
    }
}

words! {
    /// How a router picks among its providers.
    BalanceStrategy {
        /// Uniformly at random.
        Shuffle = "shuffle",
        /// The provider with the fewest requests in flight.
        LeastBusy = "least_busy",
    }
}

words! {
    /// How answers are rendered; never what they decide.
    Compatibility {
        /// The upstream's bytes as they are.
        Native = "native",
        /// As OpenGateLLM renders them.
        OpenGateLlm = "opengatellm",
    }
}

words! {
    /// Which vocabulary counts tokens when a provider reports none.
    UsageTokenizer {
        /// GPT-2's.
        Gpt2 = "tiktoken_gpt2",
        /// GPT-3's.
        R50kBase = "tiktoken_r50k_base",
        /// Codex's.
        P50kBase = "tiktoken_p50k_base",
        /// The edit models'.
        P50kEdit = "tiktoken_p50k_edit",
        /// GPT-4's.
        Cl100kBase = "tiktoken_cl100k_base",
        /// GPT-4o's.
        O200kBase = "tiktoken_o200k_base",
    }
}

words! {
    /// A part of the HTTP surface, as operators switch it off or leave it out of the API document.
    RouteGroup {
        /// Administration of the catalog.
        Admin = "admin",
        /// Speech.
        Audio = "audio",
        /// Login and logout.
        Auth = "auth",
        /// Text generation.
        Chat = "chat",
        /// Parts of documents.
        Chunks = "chunks",
        /// Sets of documents.
        Collections = "collections",
        /// Documents for retrieval.
        Documents = "documents",
        /// Embeddings.
        Embeddings = "embeddings",
        /// Uploaded files.
        Files = "files",
        /// Whether the service is up.
        Health = "health",
        /// A user's own keys.
        Keys = "keys",
        /// A user's own account.
        Me = "me",
        /// Which models there are.
        Models = "models",
        /// Health and metrics.
        Monitoring = "monitoring",
        /// Text of images.
        Ocr = "ocr",
        /// A user's own organization.
        Organizations = "organizations",
        /// Text of files.
        Parse = "parse",
        /// Rerank.
        Rerank = "rerank",
        /// Search in documents.
        Search = "search",
        /// A user's own usage.
        Usage = "usage",
    }
}
