// What a Python entry script brings along: the source behind its wrappers, the files beside it that it imports,
// executes or names, the packages it imports, the programs it starts. Found by reading, never by running.
#pragma once

#include <string>
#include <vector>

#include "budgets/foreign/packed_script.h"
#include "budgets/records/located.h"
#include "budgets/records/record_folder.h"

namespace par5 {

struct HelperFile {
  std::string name;
  std::string why;  // "imported", "executed", "named in the source"
  Place place;
};

struct ScriptClosure {
  std::string entry;
  OpenedScript opened;
  std::string raw_source;           // of entry and helpers, wrappers opened
  std::vector<HelperFile> helpers;  // code, libraries and data beside the entry script; no tokenizers, logs or shards
  std::vector<Located<std::string>> packages;  // outside the standard library, once each
  std::vector<Located<std::string>> programs;  // started as processes: "lrzip"
  std::vector<Located<std::string>> network;   // what could reach the network: "urllib.request", "pip install"
  std::vector<Located<std::string>> unclear;   // what could not be followed: execs, commands that are not constant
};

// Follows imports and execs from the folder's entry script. A script that is no Python is an entry of `unclear`. Text
// search cannot see names that are put together at run time; `unclear` says where that happens.
ScriptClosure read_script_closure(const RecordFolder& folder);

// Bytes of `source` as the field wraps it: exec(lzma.decompress(base64.b85decode(…))) with raw LZMA2, not minified.
std::uint64_t wrapped_bytes(const std::string& source);

}  // namespace par5
