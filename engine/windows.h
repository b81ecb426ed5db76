// Internal to engine/: the state behind Windows.
#pragma once

#include <vector>

#include "engine/aligned.h"
#include "engine/engine.h"
#include "engine/rope.h"

namespace par5 {

constexpr std::size_t kKeyBlock = 64;  // keys of one panel

// Keys stand in panels of 64 positions, [kv head][panel][head width][64], so that scores of 64 keys are one product;
// values stand by position, [kv head][position][head width rounded up to 16].
struct LayerCache {
  AlignedVector<float> keys, values;
};

struct WindowCache {
  std::size_t length = 0;
  std::vector<LayerCache> layers;
};

struct Windows::State {
  std::size_t capacity = 0, padded_capacity = 0;
  std::size_t head_width = 0, padded_head_width = 0, kv_heads = 0;
  RotaryTable rope;
  std::vector<WindowCache> windows;

  float* key_panel(WindowCache& window, std::size_t layer, std::size_t kv_head, std::size_t panel) const {
    return window.layers[layer].keys.data() + (kv_head * padded_capacity + panel * kKeyBlock) * head_width;
  }
  float* value_row(WindowCache& window, std::size_t layer, std::size_t kv_head, std::size_t position) const {
    return window.layers[layer].values.data() + (kv_head * padded_capacity + position) * padded_head_width;
  }
};

}  // namespace par5
