//! The settings of a fleet that data planes need: names on the wire, values typed.

use serde_json::Value;

use super::{Compatibility, RouteGroup, RouteGroups, Setting, UsageTokenizer};

/// Settings that reach every node, with their defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetSettings {
    /// How answers are rendered.
    pub compatibility: Compatibility,
    /// Which vocabulary counts tokens when a provider reports none.
    pub usage_tokenizer: UsageTokenizer,
    /// Shown as the owner of routers that nobody owns.
    pub app_title: String,
    /// Whether the master key may call inference.
    pub master_inference: bool,
    /// Routes that are not there.
    pub disabled_routers: RouteGroups,
    /// Routes that are served and not in the API document.
    pub hidden_routers: RouteGroups,
}

impl Default for FleetSettings {
    fn default() -> Self {
        Self {
            compatibility: Compatibility::Native,
            usage_tokenizer: UsageTokenizer::Gpt2,
            app_title: "Gatewright".to_owned(),
            master_inference: false,
            disabled_routers: RouteGroups::NONE,
            hidden_routers: RouteGroups::NONE,
        }
    }
}

/// A setting whose name or value is not known to this build.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("setting `{name}`: {reason}")]
pub struct BadSetting {
    name: String,
    reason: String,
}

impl FleetSettings {
    /// As the resources that travel: one for each setting.
    #[must_use]
    pub fn to_settings(&self) -> Vec<Setting> {
        let groups = |set: RouteGroups| set.iter().map(RouteGroup::as_str).collect::<Vec<_>>().into();
        let setting = |name: &str, value: Value| Setting { name: name.to_owned(), value_json: value.to_string() };
        vec![
            setting("compatibility", self.compatibility.as_str().into()),
            setting("usage_tokenizer", self.usage_tokenizer.as_str().into()),
            setting("app_title", self.app_title.as_str().into()),
            setting("auth_master_key_inference", self.master_inference.into()),
            setting("disabled_routers", groups(self.disabled_routers)),
            setting("hidden_routers", groups(self.hidden_routers)),
        ]
    }

    /// Takes over one setting; on an error everything stays as it was.
    ///
    /// # Errors
    /// [`BadSetting`] for a name or value that this build does not know.
    pub fn apply(&mut self, setting: &Setting) -> Result<(), BadSetting> {
        let bad = |reason: String| BadSetting { name: setting.name.clone(), reason };
        let value: Value = serde_json::from_str(&setting.value_json).map_err(|error| bad(error.to_string()))?;
        let text = || value.as_str().ok_or_else(|| bad("a text is expected".into()));
        let groups = || {
            let list = value.as_array().ok_or_else(|| bad("a list of route groups is expected".into()))?;
            let group = |word: &Value| word.as_str().unwrap_or_default().parse::<RouteGroup>();
            list.iter().map(group).collect::<Result<RouteGroups, _>>().map_err(|error| bad(error.to_string()))
        };
        match setting.name.as_str() {
            "compatibility" => self.compatibility = text()?.parse().map_err(|error| bad(format!("{error}")))?,
            "usage_tokenizer" => self.usage_tokenizer = text()?.parse().map_err(|error| bad(format!("{error}")))?,
            "app_title" => self.app_title = text()?.to_owned(),
            "auth_master_key_inference" => {
                self.master_inference = value.as_bool().ok_or_else(|| bad("true or false is expected".into()))?;
            }
            "disabled_routers" => self.disabled_routers = groups()?,
            "hidden_routers" => self.hidden_routers = groups()?,
            _ => return Err(bad("not known to this build".into())),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_their_resources() {
        let original = FleetSettings {
            compatibility: Compatibility::OpenGateLlm,
            usage_tokenizer: UsageTokenizer::O200kBase,
            app_title: "t".into(),
            master_inference: true,
            disabled_routers: [RouteGroup::Admin, RouteGroup::Usage].into_iter().collect(),
            hidden_routers: [RouteGroup::Chat].into_iter().collect(),
        };
        let mut copy = FleetSettings::default();
        for setting in original.to_settings() {
            assert_eq!(copy.apply(&setting), Ok(()));
        }
        assert_eq!(copy, original);
        let unknown = Setting { name: "colour".into(), value_json: "1".into() };
        assert!(copy.apply(&unknown).is_err());
        let newer = Setting { name: "disabled_routers".into(), value_json: "[\"admin\",\"telepathy\"]".into() };
        assert!(copy.apply(&newer).is_err_and(|error| error.to_string().contains("telepathy")));
        assert_eq!(copy, original);
    }
}
