//! Which CPUs the data threads run on.

use crate::error::StartError;

/// CPUs a machine must offer before one of them is left to the store's writer, feeds and the admin interface.
const CPUS_TO_SPARE_ONE: usize = 3;

/// Where the data threads of an engine run.
///
/// With a list of CPUs there is one thread pinned to each. Without, the first CPU this process may use is left to the
/// store's writer, the feeds and the admin interface, and each other one gets a pinned thread. On a machine with fewer
/// than three CPUs there are more threads than CPUs in any case: each CPU gets a thread, and none is pinned, so that the
/// kernel can make room for the writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// For each data thread, the CPU it is pinned to.
    pub threads: Vec<Option<usize>>,
}

impl Placement {
    /// Decides for the CPUs asked for, or chooses among those that this process may use.
    pub fn of(asked: Option<&[usize]>) -> Result<Placement, StartError> {
        let available: Vec<usize> = core_affinity::get_core_ids()
            .unwrap_or_default()
            .into_iter()
            .map(|core| core.id)
            .collect();
        Placement::among(asked, &available)
    }

    fn among(asked: Option<&[usize]>, available: &[usize]) -> Result<Placement, StartError> {
        let threads = match asked {
            Some([]) => return Err(StartError::NoCores),
            Some(cpus) => {
                if let Some(&cpu) = cpus.iter().find(|cpu| !available.contains(cpu)) {
                    return Err(StartError::NoSuchCpu {
                        cpu,
                        available: available.to_vec(),
                    });
                }
                cpus.iter().copied().map(Some).collect()
            }
            None if available.len() >= CPUS_TO_SPARE_ONE => {
                available[1..].iter().copied().map(Some).collect()
            }
            None => vec![None; available.len().max(1)],
        };
        Ok(Placement { threads })
    }
}

/// Pins the calling thread; a thread that cannot be pinned still works.
pub(crate) fn pin(cpu: Option<usize>) {
    if let Some(cpu) = cpu
        && !core_affinity::set_for_current(core_affinity::CoreId { id: cpu })
    {
        tracing::warn!(
            id = "engine-not-pinned",
            cpu,
            "a data thread could not be pinned to its cpu"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_list() {
        assert_eq!(
            Placement::among(Some(&[2, 3]), &[0, 1, 2, 3])
                .unwrap()
                .threads,
            [Some(2), Some(3)]
        );
        assert!(matches!(
            Placement::among(Some(&[4]), &[0, 1]),
            Err(StartError::NoSuchCpu { cpu: 4, .. })
        ));
        assert!(matches!(
            Placement::among(Some(&[]), &[0, 1]),
            Err(StartError::NoCores)
        ));
    }

    #[test]
    fn chooses_by_what_there_is() {
        assert_eq!(
            Placement::among(None, &[0, 1, 2, 3]).unwrap().threads,
            [Some(1), Some(2), Some(3)]
        );
        assert_eq!(
            Placement::among(None, &[0, 1]).unwrap().threads,
            [None, None]
        );
        assert_eq!(Placement::among(None, &[]).unwrap().threads, [None]);
    }
}
