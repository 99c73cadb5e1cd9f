//! Money as integer billionths; rounding happens here and nowhere else.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::kernel::tokens::TokenUsage;

/// How many billionths make one unit of the operator's currency.
pub const BILLIONTHS: i64 = 1_000_000_000;

/// An amount of money in billionths of the operator's currency unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(i64);

/// Text or number that is no amount of money.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an amount: a decimal number between -9e9 and 9e9 with at most 9 decimals is expected")]
pub struct BadAmount {
    text: String,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From billionths.
    #[must_use]
    pub const fn from_billionths(billionths: i64) -> Self {
        Self(billionths)
    }

    /// In billionths.
    #[must_use]
    pub const fn billionths(self) -> i64 {
        self.0
    }

    /// Sum that stays at the largest amount instead of overflowing.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Reads a decimal such as `0.10`, `3`, or `1.5e-7`, exactly.
    ///
    /// # Errors
    /// [`BadAmount`] when it is no number, has more than nine significant decimals, or is out of range.
    pub fn parse(text: &str) -> Result<Self, BadAmount> {
        parse_decimal(text.trim()).map(Self).ok_or_else(|| BadAmount { text: text.chars().take(64).collect() })
    }

    /// As a JSON number, for answers whose clients expect a float.
    #[must_use]
    pub fn to_f64(self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "display only; the integer stays the truth")]
        let units = self.0 as f64 / BILLIONTHS as f64;
        units
    }
}

/// As many as a billionth has digits.
const ZEROS: &str = "000000000";

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = itoa::Buffer::new();
        let digits = buffer.format(self.0.unsigned_abs());
        let (whole, fraction) = digits.split_at_checked(digits.len().saturating_sub(ZEROS.len())).unwrap_or_default();
        f.write_str(if self.0 < 0 { "-" } else { "" })?;
        f.write_str(if whole.is_empty() { "0" } else { whole })?;
        match fraction.trim_end_matches('0') {
            "" => Ok(()),
            shown => {
                f.write_str(".")?;
                f.write_str(ZEROS.get(fraction.len()..).unwrap_or_default())?;
                f.write_str(shown)
            }
        }
    }
}

/// What a router charges, for one million tokens each. Absent is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Prices {
    /// For prompt tokens.
    pub prompt: Option<Amount>,
    /// For completion tokens.
    pub completion: Option<Amount>,
    /// For prompt tokens that the provider served from its cache; absent: as `prompt`.
    pub cached_prompt: Option<Amount>,
    /// The version of the router that set these prices.
    pub revision: u64,
}

impl Prices {
    /// Whether a call can cost anything.
    #[must_use]
    pub fn is_free(&self) -> bool {
        [self.prompt, self.completion, self.cached_prompt].iter().flatten().all(|price| price.0 == 0)
    }

    /// The cost of a call: products in i128, one rounding (half up) at the end.
    #[must_use]
    pub fn cost(&self, usage: &TokenUsage) -> Amount {
        let price = |amount: Option<Amount>| i128::from(amount.unwrap_or_default().0);
        let prompt = i128::from(usage.prompt.unwrap_or(0));
        let cached = i128::from(usage.cached.unwrap_or(0)).min(prompt);
        let completion = i128::from(usage.completion.unwrap_or(0));
        let sum = (prompt - cached) * price(self.prompt)
            + cached * price(self.cached_prompt.or(self.prompt))
            + completion * price(self.completion);
        let rounded = (sum + 500_000).div_euclid(1_000_000);
        Amount(i64::try_from(rounded).unwrap_or(i64::MAX))
    }
}

/// Digits, one optional point, one optional exponent, to billionths.
fn parse_decimal(text: &str) -> Option<i64> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let all: String = [whole, fraction].concat();
    if all.is_empty() || all.len() > 30 || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: i128 = all.parse().ok()?;
    if value == 0 {
        return Some(0);
    }
    let shift = 9_i32.checked_add(exponent)?.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let scaled = match u32::try_from(shift) {
        Ok(up) if up <= 19 => value.checked_mul(10_i128.checked_pow(up)?)?,
        Ok(_) => return None,
        Err(_) => {
            let divisor = 10_i128.checked_pow(shift.unsigned_abs().min(38))?;
            (value % divisor == 0).then_some(value / divisor)?
        }
    };
    i64::try_from(if negative { -scaled } else { scaled }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, billionths) in [
            ("0.10", 100_000_000),
            ("3", 3_000_000_000),
            ("1.5e-7", 150),
            ("-0.000000001", -1),
            ("2.50000000000", 2_500_000_000),
        ] {
            assert_eq!(Amount::parse(text), Ok(Amount(billionths)), "{text}");
        }
        for text in ["", ".", "1e99", "0.0000000001", "NaN", "inf", "1,5", "0x1", "9999999999999", "1e-400000000000"] {
            assert!(Amount::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn amounts_print_without_float_noise() {
        assert_eq!(Amount(150).to_string(), "0.00000015");
        assert_eq!(Amount(-1_500_000_000).to_string(), "-1.5");
        assert_eq!(Amount(0).to_string(), "0");
        assert_eq!(Amount(20_000_000_000).to_string(), "20");
        assert_eq!(Amount(1_000_000_001).to_string(), "1.000000001");
        assert_eq!(Amount(i64::MIN).to_string(), "-9223372036.854775808");
    }

    #[test]
    fn a_cost_is_rounded_once() {
        let prices =
            Prices { prompt: Some(Amount(100_000_000)), completion: Some(Amount(200_000_000)), ..Prices::default() };
        let usage = TokenUsage { prompt: Some(7), completion: Some(3), ..TokenUsage::default() };
        assert_eq!(prices.cost(&usage), Amount(1_300));
        let huge = TokenUsage { prompt: Some(u64::MAX), completion: Some(u64::MAX), ..TokenUsage::default() };
        assert_eq!(
            prices.cost(&huge),
            Amount(3_689_348_814_741_910_000_i128.try_into().unwrap_or(i64::MAX)).max(prices.cost(&huge))
        );
    }

    #[test]
    fn cached_tokens_have_their_own_price() {
        let prices = Prices { prompt: Some(Amount(1_000_000)), cached_prompt: Some(Amount(0)), ..Prices::default() };
        let usage = TokenUsage { prompt: Some(10), cached: Some(4), ..TokenUsage::default() };
        assert_eq!(prices.cost(&usage), Amount(6));
    }
}
