// The filters of lists and dicts (jinja_filters_lists.cc).
#pragma once

#include "data/jinja_nodes.h"

namespace trireme::data::jinja::filters {

Value dictsort(Renderer& render, const Value& value, const Arguments& given);
Value first(Renderer& render, const Value& value, const Arguments& given);
Value items(Renderer& render, const Value& value, const Arguments& given);
Value join(Renderer& render, const Value& value, const Arguments& given);
Value last(Renderer& render, const Value& value, const Arguments& given);
Value length(Renderer& render, const Value& value, const Arguments& given);
Value list(Renderer& render, const Value& value, const Arguments& given);
Value map(Renderer& render, const Value& value, const Arguments& given);
Value max(Renderer& render, const Value& value, const Arguments& given);
Value min(Renderer& render, const Value& value, const Arguments& given);
Value reject(Renderer& render, const Value& value, const Arguments& given);
Value rejectattr(Renderer& render, const Value& value, const Arguments& given);
Value reverse(Renderer& render, const Value& value, const Arguments& given);
Value select(Renderer& render, const Value& value, const Arguments& given);
Value selectattr(Renderer& render, const Value& value, const Arguments& given);
Value sort(Renderer& render, const Value& value, const Arguments& given);
Value sum(Renderer& render, const Value& value, const Arguments& given);
Value unique(Renderer& render, const Value& value, const Arguments& given);

}  // namespace trireme::data::jinja::filters
