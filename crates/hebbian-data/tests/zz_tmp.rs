use hebbian_data::*;
#[test]
fn tiny() {
    let path = std::path::Path::new("/tmp/tiny-imagenet-100.tar");
    for part in [Part::All, Part::Train, Part::Test] {
        let d = Dataset::open_with(path, &OpenOptions { part, labels: None }).expect("open");
        println!("{part} {} {} {} {:?}", d.len(), d.labelled(), d.classes().len(), d.id(0));
    }
    let t = std::time::Instant::now();
    let d = Dataset::open(path).expect("open");
    let x = describe::describe(&d, &mut |_, _| {}).expect("d");
    println!(
        "describe {:?} {:?} unreadable {} dup {} sizes {:?} bytes {}",
        t.elapsed(),
        x.colours,
        x.unreadable.len(),
        x.duplicates.len(),
        x.sizes,
        x.bytes
    );
}
