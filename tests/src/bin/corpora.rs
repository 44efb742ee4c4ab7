//! Writes the inputs that fuzzing starts from: the captured conversations of `tests/vectors`, in the form that each
//! target reads, and random schedules for the targets that play some. Run at the root of the work tree; the same inputs
//! come out each time.

use std::error::Error;
use std::fs;
use std::path::Path;

use aiomsg_tests::wire;

/// Random schedules for each target that plays some.
const SCHEDULES: u64 = 24;

fn main() -> Result<(), Box<dyn Error>> {
    for file in fs::read_dir("tests/vectors")? {
        let path = file?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let stream = from_peer(&fs::read_to_string(&path)?)?;
        // Settings, then the seed that cuts the stream.
        write("frame", &name, &[&[5][..], &[0; 8], &stream].concat())?;
        for (role, dialect) in [(0, 0), (0, 2), (1, 0), (2, 0), (3, 2)] {
            let settings = [role, dialect];
            write(
                "detection",
                &format!("{name}-{role}-{dialect}"),
                &[&settings[..], &[0; 8], &stream].concat(),
            )?;
        }
        let (frames, _) = wire::partial_frames(&stream);
        for (number, frame) in frames.iter().enumerate() {
            let number = format!("{name}-{number}");
            match name.starts_with("v1") {
                true => write("v1", &number, &[&[9; 16][..], &[1], frame].concat())?,
                false => write("classic", &number, &[&[9; 16][..], &[0, 0], frame].concat())?,
            }
        }
    }
    for target in ["connection", "hostile", "socket", "driver"] {
        for seed in 0..SCHEDULES {
            let mut rng = fastrand::Rng::with_seed(seed);
            let schedule: Vec<u8> = (0..rng.usize(100..1_500)).map(|_| rng.u8(..)).collect();
            write(target, &format!("schedule-{seed}"), &schedule)?;
        }
    }
    Ok(())
}

fn write(target: &str, name: &str, input: &[u8]) -> std::io::Result<()> {
    let directory = Path::new("fuzz/corpus").join(target);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(name), input)
}

/// What the package sent in a captured conversation.
fn from_peer(vector: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    for hex in vector.lines().filter_map(|line| line.strip_prefix("< ")).filter(|hex| *hex != "end") {
        for place in (0..hex.len()).step_by(2) {
            bytes.push(u8::from_str_radix(hex.get(place..place + 2).unwrap_or(hex), 16)?);
        }
    }
    Ok(bytes)
}
