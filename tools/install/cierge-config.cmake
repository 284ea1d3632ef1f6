# find_package(cierge CONFIG): targets cierge::runtime, cierge::runtime_static (no compiler in them) and cierge::compiler (both).
get_filename_component(_cierge_lib "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
get_filename_component(_cierge_include "${CMAKE_CURRENT_LIST_DIR}/@INC_OF_CMAKE@" ABSOLUTE)

foreach(_cierge_target runtime:SHARED:libcierge_rt.so runtime_static:STATIC:libcierge_rt.a compiler:SHARED:libcierge.so)
  string(REPLACE ":" ";" _cierge_target "${_cierge_target}")
  list(GET _cierge_target 0 _cierge_name)
  list(GET _cierge_target 1 _cierge_kind)
  list(GET _cierge_target 2 _cierge_file)
  if(NOT TARGET cierge::${_cierge_name})
    add_library(cierge::${_cierge_name} ${_cierge_kind} IMPORTED)
    set_target_properties(cierge::${_cierge_name} PROPERTIES
      IMPORTED_LOCATION "${_cierge_lib}/${_cierge_file}"
      INTERFACE_INCLUDE_DIRECTORIES "${_cierge_include}")
  endif()
endforeach()
set_property(TARGET cierge::runtime_static PROPERTY INTERFACE_LINK_LIBRARIES m dl pthread)
