//! Whole fleets, whose deeds and faults the input says, beside the model of what may be delivered to whom.

use arbitrary::{Result, Unstructured};

use crate::simulation::{self, Deed};

/// Plays a fleet. In the end everything heals, and what can be delivered is.
pub(super) fn socket(input: &mut Unstructured<'_>) -> Result<()> {
    let seed = input.arbitrary::<u16>()?;
    let deeds: Result<Vec<Deed>> = input.arbitrary_iter()?.take(60).collect();
    simulation::run_deeds(seed.into(), &deeds?);
    Ok(())
}
