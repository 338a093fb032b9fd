//! The stores under test, behind one face.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use hebbian_search::{Gallery, GalleryInfo, GalleryWriter, Store, StoreWriter};
use hebbian_stores::ServerStore;
use tempfile::TempDir;

use crate::servers::Server;

/// The model that all stores of the tests are made with.
pub const MODEL: &str = "0123456789abcdef";

/// Makes empty stores of one kind.
pub trait Stores: Sync {
    fn make(&self, dim: usize) -> Box<dyn Place + '_>;
    /// Ends whatever runs, as if by loss of power, and starts it again.
    fn restart(&self);
}

/// One store, to be written and read.
pub trait Place {
    fn writer(&self) -> Box<dyn StoreWriter + '_>;
    /// Opens it anew.
    fn open(&self) -> Box<dyn Store>;
}

pub fn info(dim: usize) -> GalleryInfo {
    GalleryInfo::new(dim, MODEL, "the model's name", "L5")
}

/// Galleries in a folder.
pub struct Galleries {
    folder: TempDir,
    made: AtomicUsize,
}

impl Galleries {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), made: AtomicUsize::new(0) }
    }
}

impl Stores for Galleries {
    fn make(&self, dim: usize) -> Box<dyn Place + '_> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.path().join(number.to_string());
        GalleryWriter::create(&path, info(dim), false).unwrap().finish().unwrap();
        Box::new(Folder(path))
    }

    fn restart(&self) {}
}

struct Folder(PathBuf);

impl Place for Folder {
    fn writer(&self) -> Box<dyn StoreWriter + '_> {
        Box::new(GalleryWriter::open(&self.0).unwrap())
    }

    fn open(&self) -> Box<dyn Store> {
        Box::new(Gallery::open(&self.0).unwrap())
    }
}

/// Tables or collections of a server.
pub struct Served {
    pub server: Mutex<Server>,
    made: AtomicUsize,
}

impl Served {
    pub fn new(server: Server) -> Self {
        Self { server: Mutex::new(server), made: AtomicUsize::new(0) }
    }

    /// The address of a store that does not exist yet.
    pub fn fresh(&self) -> String {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        self.server.lock().unwrap().address(&format!("store_{number}"))
    }
}

impl Stores for Served {
    fn make(&self, dim: usize) -> Box<dyn Place + '_> {
        let address = self.fresh();
        let store = ServerStore::create(&address, &info(dim)).unwrap();
        Box::new(Remote { store, address })
    }

    fn restart(&self) {
        let mut server = self.server.lock().unwrap();
        server.kill();
        server.launch();
    }
}

struct Remote {
    store: ServerStore,
    address: String,
}

impl Place for Remote {
    fn writer(&self) -> Box<dyn StoreWriter + '_> {
        Box::new(self.store.writer().unwrap())
    }

    fn open(&self) -> Box<dyn Store> {
        Box::new(ServerStore::open(&self.address).unwrap())
    }
}
