# A console is a pump from the machine's pipe to the file PATH. Whoever holds PATH.pump open is the pump; PATH.in is
# what to type, and while it exists the pump runs. So any agent can read, type and stop, and take over from a dead one.
$pumps = [Collections.ArrayList]::new()
$pump = {
    param($pipe, $path, $log, $hold, $most)
    $buffer = [byte[]]::new(65536)
    $typed = 0
    while ([IO.File]::Exists("$path.in")) {
        $client = [IO.Pipes.NamedPipeClientStream]::new('.', $pipe, 'InOut', 'Asynchronous')
        try {
            $client.Connect(1)
            $reading = $null
            while ([IO.File]::Exists("$path.in")) {
                if ($null -eq $reading) { $reading = $client.ReadAsync($buffer, 0, $buffer.Length) }
                if ($reading.Wait(50)) {
                    if ($reading.Result -eq 0) { break }
                    $log.Write($buffer, 0, [Math]::Min($reading.Result, [Math]::Max(0, $most - $log.Length)))
                    $log.Flush()
                    $reading = $null
                }
                if ([IO.FileInfo]::new("$path.in").Length -gt $typed) {
                    $keys = [IO.File]::Open("$path.in", 'Open', 'Read', 'ReadWrite, Delete')
                    $null = $keys.Seek($typed, 'Begin')
                    $more = [byte[]]::new($keys.Length - $typed)
                    $typed += $keys.Read($more, 0, $more.Length)
                    $keys.Dispose()
                    $client.Write($more, 0, $more.Length)
                }
            }
        } catch { [Threading.Thread]::Sleep(100) } # off, or being reset: the pipe comes back
        finally { $client.Dispose() }
    }
    $log.Dispose()
    $hold.Dispose()
}

function Lock-InteropConsole([string]$path) { [IO.File]::Open("$path.pump", 'OpenOrCreate', 'Write', 'None') }

function Stop-InteropConsole { # wherever its pump runs
    [CmdletBinding()] param([string]$Path)
    if ([IO.File]::Exists("$Path.in")) { [IO.File]::Delete("$Path.in") }
    for ($try = 0; [IO.File]::Exists("$Path.pump"); $try++) {
        try { (Lock-InteropConsole $Path).Dispose(); [IO.File]::Delete("$Path.pump") }
        catch [IO.IOException] { if ($try -gt 50) { throw }; [Threading.Thread]::Sleep(100) }
    }
}

function Start-InteropConsole { # before the machine: what a pipe says to nobody is lost
    [CmdletBinding()] param([string]$Pipe, [string]$Path, [switch]$Fresh, [long]$Most = 256MB) # a guest may never fall silent
    if ($Fresh) { Stop-InteropConsole -Path $Path }
    try { $hold = Lock-InteropConsole $Path } catch [IO.IOException] { return } # another pump is at it
    $log = [IO.File]::Open($Path, $(if ($Fresh) { 'Create' } else { 'OpenOrCreate' }), 'Write', 'ReadWrite, Delete')
    $null = $log.Seek(0, 'End')
    [IO.File]::Open("$Path.in", 'Create').Dispose()
    $space = [RunspaceFactory]::CreateRunspace([InitialSessionState]::CreateDefault2())
    $space.Open()
    $shell = [PowerShell]::Create()
    $shell.Runspace = $space
    $null = $shell.AddScript($pump.ToString()).AddArgument($Pipe).AddArgument($Path).AddArgument($log).AddArgument($hold).AddArgument($Most)
    $null = $pumps.Add(@($shell, $shell.BeginInvoke()))
}

function Read-InteropConsole {
    [CmdletBinding()] param([string]$Path, [long]$Offset, [int]$Limit)
    if (-not [IO.File]::Exists($Path)) { return }
    $log = [IO.File]::Open($Path, 'Open', 'Read', 'ReadWrite, Delete')
    try {
        if ($log.Length -le $Offset) { return }
        $null = $log.Seek($Offset, 'Begin')
        $buffer = [byte[]]::new([Math]::Min($Limit, $log.Length - $Offset))
        [Convert]::ToBase64String($buffer, 0, $log.Read($buffer, 0, $buffer.Length))
    } finally { $log.Dispose() }
}

function Write-InteropConsole {
    [CmdletBinding()] param([string]$Path, [string]$Data)
    $keys = [IO.File]::Open("$Path.in", 'Append', 'Write', 'Read')
    try { $bytes = [Convert]::FromBase64String($Data); $keys.Write($bytes, 0, $bytes.Length) } finally { $keys.Dispose() }
}
