// Scripts that hide their source in a compressed blob (exec(lzma.decompress(base64.b85decode("…")))), opened without
// running them: the expression that exec is given is evaluated by a small evaluator that knows string literals,
// variables, the decoders of decode.h and reading files beside the script, and nothing else.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace par5 {

// One exec that was opened. Layers nest: what a blob holds may itself exec another.
struct ScriptLayer {
  std::string how;       // "exec(lzma.decompress(base64.b85decode(text of 21,000 characters)))"
  std::string source;    // what would be run, as UTF-8
  std::size_t line = 1;  // of the exec, in the layer around it
  int depth = 1;
};

// An exec, eval or compile whose argument could not be followed. It may hide anything.
struct OpaqueExec {
  std::size_t line = 1;
  int depth = 0;  // of the layer in which it stands; 0: the script itself
  std::string why;
};

struct OpenedScript {
  std::vector<ScriptLayer> layers;  // in the order in which they are met
  std::vector<OpaqueExec> opaque;
  std::vector<std::string> files;  // names of files beside the script that an exec reads
  // What a reader should read: the script if nothing was packed, else the last source of the deepest chain.
  std::string source;
};

// Gives the contents of a file that the script names, relative to the script's folder.
using ReadBeside = std::function<Result<std::string>(const std::string& name)>;

// `source` is the script's text; `name` its file name, as __file__ would end. A script that is no Python (a string that
// does not end) is bad_data. A blob that expands too far or is malformed is an opaque exec with the reason.
Result<OpenedScript> open_script(std::string_view source, const std::string& name, const ReadBeside& read_beside);

}  // namespace par5
