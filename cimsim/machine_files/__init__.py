"""What a machine file says: a whole machine, or what differs from another; long and short forms."""

from cimsim.machine_files.beginning import beginning
from cimsim.machine_files.reading import MachineFile, read_machine_file
from cimsim.machine_files.reference import fields_page
from cimsim.machine_files.schema import file_schema

__all__ = ["MachineFile", "beginning", "fields_page", "file_schema", "read_machine_file"]
