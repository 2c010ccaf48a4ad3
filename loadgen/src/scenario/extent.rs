//! How far a scenario reaches: its families, its sockets, its runs.

use super::{Behaviour, FamilyNumber, Group, Limits, Scenario};

/// Connections that each place keeps which ignores the limit.
const IGNORED: u64 = 64;

impl Limits {
    /// 0 stands for a limit that is off: it is not tested.
    pub(super) fn leave_out_what_is_off(&mut self) {
        for limit in [
            &mut self.max_connections,
            &mut self.max_connections_per_requestor,
            &mut self.max_queries_per_connection,
        ] {
            *limit = limit.filter(|limit| *limit > 0);
        }
    }
}

impl Scenario {
    /// The families that it is about: those of its groups; without groups those of the server given, else both.
    #[must_use]
    pub fn families(&self) -> Vec<FamilyNumber> {
        let is_used = |family: &FamilyNumber| {
            if !self.group.is_empty() {
                return self.group.iter().any(|group| group.family == *family);
            }
            match family {
                _ if !self.target.is_given() => true,
                FamilyNumber::V4 => self.target.server4.is_some(),
                FamilyNumber::V6 => self.target.server6.is_some(),
            }
        };
        let mut families = vec![FamilyNumber::V4, FamilyNumber::V6];
        families.retain(is_used);
        families
    }

    /// TCP connections that a group has at a time.
    #[must_use]
    pub fn sockets(&self, group: &Group) -> u64 {
        let places = u64::from(group.at_once.of(group.relays.of(self.data.relays)));
        match group.behaviour {
            // Its places share sockets.
            Behaviour::Udp => 0,
            Behaviour::IgnoreLimit => places * IGNORED,
            _ => places,
        }
    }

    /// UDP queries a second that its groups ask for; closed loops count as none.
    #[must_use]
    pub fn udp_per_second(&self) -> f64 {
        let rate = |group: &Group| match group.behaviour {
            Behaviour::Udp => group.rate,
            _ => None,
        };
        self.group.iter().filter_map(rate).sum()
    }

    /// The scenarios that are run: one for each combination of the sweep, those that differ only in rates beside each other;
    /// without a sweep the scenario itself.
    #[must_use]
    pub fn points(&self) -> Vec<Self> {
        let mut points = vec![self.clone()];
        let Some(sweep) = &self.sweep else {
            return points;
        };
        vary(&mut points, &sweep.relays, |point, relays| {
            point.data.relays = relays;
        });
        vary(&mut points, &sweep.bindings_per_relay, |point, each| {
            point.data.bindings_per_relay = each;
        });
        vary(&mut points, &sweep.changes_per_second, |point, rate| {
            if let Some(changes) = &mut point.changes {
                changes.per_second = rate;
            }
        });
        vary(&mut points, &sweep.udp_rate, |point, rate| {
            for group in &mut point.group {
                if let (Behaviour::Udp, Some(_)) = (group.behaviour, group.rate) {
                    group.rate = Some(rate);
                }
            }
        });
        for point in &mut points {
            point.sweep = None;
            // None at all, rather than some at no rate.
            point.changes = point
                .changes
                .take()
                .filter(|changes| changes.per_second > 0.0);
        }
        points
    }
}

fn vary<T: Copy>(points: &mut Vec<Scenario>, values: &[T], set: impl Fn(&mut Scenario, T)) {
    if values.is_empty() {
        return;
    }
    let each = |point: Scenario| {
        values
            .iter()
            .map(|value| {
                let mut point = point.clone();
                set(&mut point, *value);
                point
            })
            .collect::<Vec<_>>()
    };
    *points = std::mem::take(points).into_iter().flat_map(each).collect();
}

#[cfg(test)]
mod tests {
    use super::super::read::read;

    #[test]
    fn a_sweep_is_every_combination_with_rates_innermost() {
        let mut sweep = read("sweep", &[]).unwrap().scenario;
        let values = sweep.sweep.as_mut().unwrap();
        values.relays = vec![1, 2];
        values.bindings_per_relay = vec![];
        values.changes_per_second = vec![0.0, 5.0];
        values.udp_rate = vec![10.0];
        let told: Vec<_> = sweep
            .points()
            .iter()
            .map(|point| {
                let changes = point.changes.as_ref().map(|changes| changes.per_second);
                (point.data.relays, changes, point.udp_per_second())
            })
            .collect();
        assert_eq!(
            told,
            [
                (1, None, 10.0),
                (1, Some(5.0), 10.0),
                (2, None, 10.0),
                (2, Some(5.0), 10.0)
            ]
        );
        assert!(sweep.points().iter().all(|point| point.sweep.is_none()));
    }

    #[test]
    fn families_are_those_of_the_groups_or_of_the_server() {
        let families = |name: &str| -> Vec<u8> {
            let scenario = read(name, &[]).unwrap().scenario;
            scenario.families().into_iter().map(u8::from).collect()
        };
        assert_eq!(families("storm"), [4]);
        assert_eq!(families("steady"), [4, 6]);
        assert_eq!(families("limits"), [4, 6]);
        let mut limits = read("limits", &[]).unwrap().scenario;
        limits.target.server6 = Some("[::1]:547".parse().unwrap());
        assert_eq!(limits.families(), [super::FamilyNumber::V6]);
    }
}
