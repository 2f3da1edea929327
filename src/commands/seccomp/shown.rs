//! What becomes of one call, for people and for programs.

use serde_json::{Value, json};
use teu_seccomp::explain::Reading;
use teu_seccomp::{Action, Arch, Decision, Reason, SeccompData, advice};

use super::profile::Profile;
use super::words;

/// A call with what becomes of it.
pub struct Shown {
    data: SeccompData,
    name: Option<String>,
    /// The decision.
    pub decision: Decision,
    because: String,
    /// Highest argument that a rule about the call looks at.
    looked_at: Option<usize>,
    changes: Option<Vec<advice::Change>>,
}

impl Shown {
    /// Asks the profile.
    pub fn of(profile: &Profile, data: SeccompData) -> Shown {
        let reading = Reading::new(&profile.policy);
        let decision = reading.decide(&data);
        let because = words::because(&profile.policy, &reading, &data, &decision, profile.base);
        let arch = Arch::of_call(data.arch, data.nr);
        let deciding = decision.rule().into_iter().chain(reading.near(&data));
        let conditions = deciding.filter_map(|index| profile.policy.rule(index)).flat_map(|(_, c)| c);
        Shown {
            name: arch.and_then(|arch| arch.name_of_call(data.nr, data.args[0])),
            looked_at: conditions.map(|condition| usize::from(condition.index)).max(),
            changes: advice::to_allow(&profile.policy, &data),
            data,
            decision,
            because,
        }
    }

    /// The architecture by name.
    fn arch(&self) -> &'static str {
        Arch::of_call(self.data.arch, self.data.nr).map_or("an unknown architecture", Arch::name)
    }

    /// Some lines for a person. `given`: how many arguments are known. `caller`: who makes the call.
    pub fn text(&self, profile: &Profile, given: usize, caller: Option<&str>) -> String {
        let Shown { data, decision, because, .. } = self;
        let mut name = self.name.clone().unwrap_or_else(|| "a call without a name".to_owned());
        let own = Arch::of_call(data.arch, data.nr).and_then(|arch| arch.name_of(data.nr));
        if let Some(own) = own.filter(|own| *own != name) {
            name.push_str(&format!(" by way of {own}"));
        }
        let mut text = format!("{name} ({}, call {}): {}", self.arch(), data.nr, decision.action.effect());
        if let Some(caller) = caller {
            text.push_str(&format!("\n  called by   {caller}"));
            if let Some(last) = self.looked_at {
                let args: Vec<String> = data.args[..=last].iter().map(|arg| format!("{arg:#x}")).collect();
                text.push_str(&format!(", with {}", args.join(", ")));
            }
        }
        text.push_str(&format!("\n  decided by  {because}"));
        if let Some(argument) = self.looked_at.filter(|argument| *argument >= given) {
            text.push_str(&format!("\n  note        argument {argument} was not given and counts as 0"));
        }
        if decision.action.refuses() {
            let advice = words::advice(self.changes.as_deref(), self.name.is_some(), profile.base);
            text.push_str(&format!("\n  to allow    {advice}"));
        }
        text
    }

    /// The same for a program. The changes that allow the call are a JSON patch (RFC 6902).
    pub fn document(&self, profile: &Profile) -> Value {
        let Shown { data, decision, because, .. } = self;
        let (reason, newest) = match decision.reason {
            Reason::Rule => ("rule", None),
            Reason::Default => ("default", None),
            Reason::NewerThanProfile { last } => ("newer-than-profile", Some(last)),
            Reason::ForeignArchitecture => ("foreign-architecture", None),
        };
        let errno = match decision.action {
            Action::Errno(number) | Action::Trace(number) => Some(number),
            _ => None,
        };
        let operation = |change: &advice::Change| change.operation(profile.base, &profile.section);
        let patch: Option<Vec<Value>> =
            self.changes.as_ref().map(|changes| changes.iter().map(operation).collect());
        json!({
            "syscall": self.name,
            "number": data.nr,
            "architecture": self.arch(),
            "args": data.args,
            "action": decision.action.name(),
            "errno": errno,
            "effect": decision.action.effect(),
            "refused": decision.action.refuses(),
            "pointer": format!("{}{}", profile.base, decision.pointer),
            "reason": reason,
            "newestNamed": newest,
            "decidedBy": because,
            "toAllow": patch,
        })
    }
}
