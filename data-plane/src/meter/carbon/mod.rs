//! What a call cost the climate: an estimate of its electricity and greenhouse gases, after EcoLogits.
//!
//! The model is that of EcoLogits 0.11.3 (<https://ecologits.ai>), which OpenGateLLM uses: a regression of the energy and
//! latency of a token on GPUs, a share of the servers that are needed to hold the model, and the making of both. It is
//! the one place where floating point numbers say what a call was; the figures that an upstream measured are not known
//! here. Without any number of parameters there is no estimate, and where one of the two is missing the other stands
//! for it (a dense model uses all of its parameters). A zone without figures counts as the world.

mod mixes;
#[cfg(test)]
mod tests;

use std::time::Duration;

use shared::catalog::CarbonFacts;

/// Requests that a server works on together.
const BATCH_SIZE: f64 = 64.0;
/// Energy of a GPU for a token, in Wh: `ALPHA · e^(BETA · batch) · active + GAMMA`, with billions of parameters.
const GPU_ENERGY_ALPHA: f64 = 1.166_527_317_045_191_4e-6;
const GPU_ENERGY_BETA: f64 = -0.011_205_921_025_579_175;
const GPU_ENERGY_GAMMA: f64 = 4.052_928_146_734_005e-5;
/// Seconds for a token: `ALPHA · active + BETA · batch + GAMMA`.
const LATENCY_ALPHA: f64 = 0.000_678_508_809_435_366_3;
const LATENCY_BETA: f64 = 0.000_311_931_031_168_825_9;
const LATENCY_GAMMA: f64 = 0.019_473_717_579_473_387;
/// Weights are held in 16 bits: bytes for a parameter.
const WEIGHT_BYTES: f64 = 16.0 / 8.0;
/// What is needed beside weights.
const MEMORY_OVERHEAD: f64 = 1.2;
/// Memory of a GPU, in GB.
const GPU_MEMORY: f64 = 80.0;
/// GPUs of a server.
const SERVER_GPUS: f64 = 8.0;
/// What a server takes without its GPUs, in kW.
const SERVER_POWER: f64 = 1.2;
/// What a data centre takes for a kWh of its servers.
const POWER_USAGE_EFFECTIVENESS: f64 = 1.2;
/// Greenhouse gases of making a server without its GPUs, and a GPU, in kg CO2 equivalent.
const SERVER_EMBODIED: f64 = 5700.0;
const GPU_EMBODIED: f64 = 273.0;
/// How long hardware is in use, in seconds: three years.
const HARDWARE_LIFE: f64 = 3.0 * 365.0 * 86_400.0;
const SECONDS_OF_AN_HOUR: f64 = 3600.0;

/// An estimate for one call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Impact {
    /// Electricity, in kWh.
    pub(crate) kwh: f64,
    /// Greenhouse gases, in kg CO2 equivalent.
    pub(crate) kg_co2eq: f64,
}

/// The estimate for an answer of so many tokens that took so long, or none where nothing is known of the model.
pub(crate) fn estimate(facts: &CarbonFacts, completion_tokens: u64, latency: Duration) -> Option<Impact> {
    let known = |billions: Option<f64>| billions.filter(|billions| billions.is_finite() && *billions > 0.0);
    let (total, active) = (known(facts.total_params), known(facts.active_params));
    let (total, active) = (total.or(active)?, active.or(total)?);
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let tokens = completion_tokens as f64;

    let gpu_kwh = (GPU_ENERGY_ALPHA * (GPU_ENERGY_BETA * BATCH_SIZE).exp() * active + GPU_ENERGY_GAMMA) / 1000.0;
    let token_seconds = LATENCY_ALPHA * active + LATENCY_BETA * BATCH_SIZE + LATENCY_GAMMA;
    let seconds = latency.as_secs_f64().min(tokens * token_seconds);
    let memory = MEMORY_OVERHEAD * total * WEIGHT_BYTES;
    let gpus = (memory / GPU_MEMORY).ceil().log2().ceil().exp2();
    let servers = gpus / SERVER_GPUS;

    let server_kwh = seconds / SECONDS_OF_AN_HOUR * SERVER_POWER * servers / BATCH_SIZE;
    let kwh = POWER_USAGE_EFFECTIVENESS * (server_kwh + gpus * tokens * gpu_kwh);
    let embodied = seconds * (servers * SERVER_EMBODIED + gpus * GPU_EMBODIED) / (HARDWARE_LIFE * BATCH_SIZE);
    Some(Impact { kwh, kg_co2eq: kwh * mixes::of(&facts.zone) + embodied })
}
