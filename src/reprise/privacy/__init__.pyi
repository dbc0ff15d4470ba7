from .device.device_client import DeviceClient as DeviceClient
from .device.device_client import DeviceRecommendation as DeviceRecommendation
from .device.device_export import DeviceExport as DeviceExport
from .device.device_export import export_device as export_device
