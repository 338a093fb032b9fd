// Patches written out (N x D), for deflation, which uses them up.

struct Shape {
    entries: u32,
    d: u32,
    map_height: i32,
    map_width: i32,
    map_channels: i32,
}

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> map: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

{{patches}}

const LANES = 256u;

@compute @workgroup_size(LANES)
fn unfold(
    @builtin(global_invocation_id) id: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
) {
    let entry = id.y * groups.x * LANES + id.x;
    if (entry < shape.entries) {
        out[entry] =
            patch_entry(patch_rows[entry / shape.d], patch_columns[entry % shape.d]);
    }
}
