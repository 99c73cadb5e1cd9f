//! The closed taxonomy of what can go wrong with a call; status, body, retries, metrics and alerts key on it.

use super::kinds::words;

words! {
    /// Why a call failed.
    FaultKind {
        /// No credential, or none that is known.
        Unauthenticated = "unauthenticated",
        /// Two different credentials at once.
        AmbiguousCredentials = "ambiguous_credentials",
        /// Known, but not allowed.
        Forbidden = "forbidden",
        /// The user, organization or key is blocked or has expired.
        AccountDisabled = "account_disabled",
        /// No router of that name for this caller.
        UnknownRouter = "unknown_router",
        /// The request itself is wrong.
        InvalidRequest = "invalid_request",
        /// The body is over the limit.
        TooLarge = "too_large",
        /// The prompt is longer than the context.
        ContextWindowExceeded = "context_window_exceeded",
        /// Refused for its content.
        ContentPolicy = "content_policy",
        /// A rate limit of ours.
        RateLimited = "rate_limited",
        /// A spent budget.
        BudgetExceeded = "budget_exceeded",
        /// Too much is waiting.
        QueueFull = "queue_full",
        /// The deadline passed.
        Timeout = "timeout",
        /// No connection to the upstream.
        Connect = "connect",
        /// The upstream limits us.
        UpstreamRateLimited = "upstream_rate_limited",
        /// The upstream refused our credential.
        UpstreamAuth = "upstream_auth",
        /// The upstream refused the request (4xx).
        UpstreamRefused = "upstream_refused",
        /// The upstream failed (5xx).
        UpstreamError = "upstream_error",
        /// The upstream's answer cannot be understood.
        UpstreamInvalid = "upstream_invalid",
        /// The upstream died after its first event.
        InterruptedStream = "interrupted_stream",
        /// The client left.
        ClientGone = "client_gone",
        /// A resource of the caller could not be applied and is closed.
        PolicyUnavailable = "policy_unavailable",
        /// No capacity, no provider, or draining.
        Unavailable = "unavailable",
        /// A defect of ours.
        Internal = "internal",
    }
}
