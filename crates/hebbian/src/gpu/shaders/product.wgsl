// out = alpha A B^T + beta out, of A (M x K) and B (N x K), each stored one of
// four ways; or one part of the sum over k, to be added up by `reduce`.
//
// A workgroup computes a tile of 64 x 64, each of its 128 invocations 8 x 4 of
// it, from slices of both operands 16 deep in shared memory.

{{enable}}

struct Shape {
    m: u32,
    n: u32,
    k: u32,
    // Length of k that one workgroup sums; all of k where it is not split.
    part: u32,
    a_start: u32,
    a_stride: u32,
    b_start: u32,
    b_stride: u32,
    out_start: u32,
    out_stride: u32,
    // Rows of a diagonal block, for GRAM and TRIANGLE.
    block: u32,
    alpha: f32,
    beta: f32,
    map_height: i32,
    map_width: i32,
    map_channels: i32,
}

// How an operand is stored: entry (i, k) at i * stride + k, at k * stride + i,
// or entry k of patch i, or entry i of patch k.
const ROWS = 0u;
const COLUMNS = 1u;
const PATCHES = 2u;
const PATCHES_ACROSS = 3u;
const A = {{a}};
const B = {{b}};

// What the product is for. GRAM: blocks on the diagonal of A^T A, block by
// block of `block` rows, tiles above the diagonal left out. TRIANGLE: A holds
// such blocks, of which only the lower triangle counts.
const PLAIN = 0u;
const GRAM = 1u;
const TRIANGLE = 2u;
const USE = {{use}};

// Whether the result is one part of a split sum.
const SPLIT = {{split}};

alias Operand = {{operand}};

@group(0) @binding(0) var<uniform> shape: Shape;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

const TILE = 64u;
const DEPTH = 16u;
const LANES = 128u;
// Groups of four to a slice of a tile, and one more against bank conflicts.
const PITCH = TILE / 4u + 1u;

var<workgroup> tile_a: array<vec4<Operand>, DEPTH * PITCH>;
var<workgroup> tile_b: array<vec4<Operand>, DEPTH * PITCH>;
// Where the patches of the tile, or their entries, lie.
var<workgroup> outer_places: array<vec4<i32>, TILE>;

{{patches}}

{{load_a}}

{{load_b}}

fn store(row: u32, column: u32, rows: u32, columns: u32, part: u32, value: vec4<f32>) {
    if (row >= rows) {
        return;
    }
    for (var i = 0u; i < 4u; i++) {
        if (column + i < columns) {
            if (SPLIT) {
                out[(part * shape.m + row) * shape.out_stride + column + i] = value[i];
            } else {
                let at = shape.out_start + row * shape.out_stride + column + i;
                var sum = shape.alpha * value[i];
                if (shape.beta != 0.0) {
                    sum += shape.beta * out[at];
                }
                out[at] = sum;
            }
        }
    }
}

@compute @workgroup_size(LANES)
fn product(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = group.x * TILE;
    let column = group.y * TILE;
    // Where the diagonal block of these rows starts.
    var block = 0u;
    var columns = shape.n;
    var first = group.z * shape.part;
    var end = min(first + shape.part, shape.k);
    if (USE == GRAM) {
        block = row / shape.block * shape.block;
        columns = min(shape.block, shape.m - block);
        if (block + column > row + TILE - 1u) {
            return;
        }
    }
    if (USE == TRIANGLE) {
        block = row / shape.block * shape.block;
        first = 0u;
        end = min(row + TILE, shape.m) - block;
    }
    {{prepare}}

    var c0 = vec4<f32>();
    var c1 = vec4<f32>();
    var c2 = vec4<f32>();
    var c3 = vec4<f32>();
    var c4 = vec4<f32>();
    var c5 = vec4<f32>();
    var c6 = vec4<f32>();
    var c7 = vec4<f32>();
    // Neighbouring invocations read neighbouring numbers of an operand.
    let along = lane % 16u;
    let across = lane / 16u;
    for (var k = first; k < end; k += DEPTH) {
        for (var half = 0u; half < 16u; half += 8u) {
            let a_k = select(across + half, along, A == ROWS || A == PATCHES);
            let a_group = select(along, across + half, A == ROWS || A == PATCHES);
            tile_a[a_k * PITCH + a_group] =
                vec4<Operand>(load_a(k + a_k, end, row, a_group * 4u, block));
            let b_k = select(across + half, along, B == ROWS || B == PATCHES);
            let b_group = select(along, across + half, B == ROWS || B == PATCHES);
            tile_b[b_k * PITCH + b_group] =
                vec4<Operand>(load_b(k + b_k, end, column, b_group * 4u, block));
        }
        workgroupBarrier();
        for (var i = 0u; i < DEPTH; i++) {
            let low = vec4<f32>(tile_a[i * PITCH + across * 2u]);
            let high = vec4<f32>(tile_a[i * PITCH + across * 2u + 1u]);
            let other = vec4<f32>(tile_b[i * PITCH + along]);
            c0 += low.x * other;
            c1 += low.y * other;
            c2 += low.z * other;
            c3 += low.w * other;
            c4 += high.x * other;
            c5 += high.y * other;
            c6 += high.z * other;
            c7 += high.w * other;
        }
        workgroupBarrier();
    }
    let r = row + across * 8u;
    let c = column + along * 4u;
    store(r, c, shape.m, columns, group.z, c0);
    store(r + 1u, c, shape.m, columns, group.z, c1);
    store(r + 2u, c, shape.m, columns, group.z, c2);
    store(r + 3u, c, shape.m, columns, group.z, c3);
    store(r + 4u, c, shape.m, columns, group.z, c4);
    store(r + 5u, c, shape.m, columns, group.z, c5);
    store(r + 6u, c, shape.m, columns, group.z, c6);
    store(r + 7u, c, shape.m, columns, group.z, c7);
}
