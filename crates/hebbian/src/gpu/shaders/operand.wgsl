// Entries `tile + within` to `tile + within + 3` of operand {{name}} at `k`;
// zero from `end` on. Entries beyond the operand are never stored.
fn load_{{name}}(k: u32, end: u32, tile: u32, within: u32, block: u32) -> vec4<f32> {
    if (k >= end) {
        return vec4<f32>();
    }
    {{before}}
    var value = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        let outer = tile + within + i;
        {{fetch}}
    }
    return value;
}
